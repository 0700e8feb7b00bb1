// Uses every part of edgecls.hpp. Arguments: bundle, install folder, weights-independent expectations come from the model.
#include <cmath>
#include <cstdio>
#include <type_traits>
#include <vector>

#include <edgecls.hpp>

static_assert(!std::is_copy_constructible_v<edgecls::Session> && std::is_nothrow_move_constructible_v<edgecls::Session>);

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition);    \
      return 1;                                                       \
    }                                                                 \
  } while (0)

int main(int argc, char **argv) {
  CHECK(argc == 3);
  auto absent = edgecls::Session::open("/absent");
  CHECK(!absent && !absent.error().text.empty() && absent.error().status != EC_OK);

  auto opened = edgecls::Session::install_and_open(argv[1], argv[2], {2});
  if (!opened) return std::fprintf(stderr, "%s\n", opened.error().text.c_str()), 1;
  CHECK(opened.error().status == EC_OK);
  edgecls::Session session = std::move(*opened);
  CHECK(session.threads() == 2 && session.model().num_inputs == 1);
  CHECK(session.input_info(1, 0)->ndim == 4 && session.output_info(1, 9) == nullptr);

  const std::vector<std::uint8_t> bytes(20 * 30 * 3, 128);
  ec_pixels pixels{bytes.data(), 20, 30, 3, 0};
  if (auto error = session.preprocess(1, 0, 0, pixels)) return std::fprintf(stderr, "%s\n", error.text.c_str()), 1;
  const auto input = session.input<float>(1, 0);
  CHECK(input.size() == 192 && std::fabs(input[0] - 0.0f) < 1e-6f); // 128 / 256 - 0.5
  if (auto error = session.invoke(1)) return std::fprintf(stderr, "%s\n", error.text.c_str()), 1;
  const auto logits = session.output<float>(1, 0);
  CHECK(logits.size() == 4);
  CHECK(session.output<std::int8_t>(1, 0).empty() && session.output<float>(1, 7).empty());
  for (float value : logits) std::printf("%.9g ", static_cast<double>(value));

  pixels.channels = 4;
  if (auto error = session.preprocess(1, 0, 0, pixels)) CHECK(error.status == EC_ERROR_IMAGE);
  else CHECK(!"an alpha channel was accepted");
  if (auto error = session.invoke(3)) CHECK(error.status == EC_ERROR_ARGUMENT);
  else CHECK(!"batch 3 was accepted");
  double difference = -1;
  CHECK(!session.selftest(1, &difference) && difference >= 0 && difference < 1e-5);
  return 0;
}
