// edgecls.hpp: edgecls.h for C++17. Owns the session, adds no code of its own, throws nothing.
//
//   auto model = edgecls::Session::install_and_open("model.ecls", "/var/lib/app", {4});
//   if (!model) return fail(model.error().text);
//   if (auto error = model->preprocess(1, 0, 0, pixels)) return fail(error.text);
//   if (auto error = model->invoke(1)) return fail(error.text);
//   edgecls::Span<const float> logits = model->output<float>(1, 0);
//
// A Session is used by one thread at a time; it can be moved, not copied. Needs -std=c++17 and works with
// -fno-exceptions -fno-rtti (running out of memory for an error text then ends the program, as operator new does).
#ifndef EDGECLS_HPP
#define EDGECLS_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "edgecls.h"

namespace edgecls {

// What a call refused, and why in one sentence; converts to true when something went wrong.
struct [[nodiscard]] Error {
  ec_status status = EC_OK;
  std::string text;

  explicit operator bool() const noexcept { return status != EC_OK; }

  // Of a call of the C library that this thread just made.
  static Error of(ec_status status) { return status == EC_OK ? Error{} : Error{status, ec_last_error()}; }
};

// A value or an Error. Look before you dereference: an Expected without value must not be dereferenced.
template <typename T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : content_(std::move(value)) {}
  Expected(Error error) : content_(std::move(error)) {}

  bool has_value() const noexcept { return std::holds_alternative<T>(content_); }
  explicit operator bool() const noexcept { return has_value(); }
  T &operator*() noexcept { return *std::get_if<T>(&content_); }
  T *operator->() noexcept { return std::get_if<T>(&content_); }
  const T &operator*() const noexcept { return *std::get_if<T>(&content_); }
  const T *operator->() const noexcept { return std::get_if<T>(&content_); }
  Error error() const { return has_value() ? Error{} : *std::get_if<Error>(&content_); }

 private:
  std::variant<T, Error> content_;
};

// Elements that someone else owns (std::span is C++20). Empty when there is no such tensor or T is not its type.
template <typename T>
class Span {
 public:
  Span() = default;
  Span(T *data, std::size_t size) : data_(data), size_(size) {}

  T *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T *begin() const noexcept { return data_; }
  T *end() const noexcept { return data_ + size_; }
  T &operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

// The C++ type of a tensor's elements; half floats are seen as their 16 bits.
template <typename T>
constexpr bool is_dtype(std::uint32_t dtype) noexcept {
  switch (dtype) {
    case EC_F32: return std::is_same_v<T, float>;
    case EC_F64: return std::is_same_v<T, double>;
    case EC_F16: return std::is_same_v<T, std::uint16_t>;
    case EC_I8: return std::is_same_v<T, std::int8_t>;
    case EC_U8: return std::is_same_v<T, std::uint8_t>;
    case EC_I16: return std::is_same_v<T, std::int16_t>;
    case EC_I32: return std::is_same_v<T, std::int32_t>;
    case EC_I64: return std::is_same_v<T, std::int64_t>;
    case EC_BOOL: return std::is_same_v<T, bool>;
    default: return false;
  }
}

struct Options {
  std::uint32_t threads = 1;
  std::uint64_t max_batch = 0;  // 0: every plan
  std::uint32_t flags = 0;      // EC_TRUST_FILES
};

class Session {
 public:
  // Open the folder that ec_install made.
  static Expected<Session> open(const std::string &folder, Options options = {}) {
    ec_session *session = nullptr;
    const ec_options raw = to_c(options);
    const ec_status status = ec_open(folder.c_str(), &raw, &session);
    if (status != EC_OK) return Error::of(status);
    return Session(session);
  }

  // Open a model that is linked into the program; it must outlive the session.
  static Expected<Session> open_static(const ec_model &model, Options options = {}) {
    ec_session *session = nullptr;
    const ec_options raw = to_c(options);
    const ec_status status = ec_open_static(&model, &raw, &session);
    if (status != EC_OK) return Error::of(status);
    return Session(session);
  }

  // Verify and unpack a bundle below `destination`, then open it.
  static Expected<Session> install_and_open(const std::string &bundle, const std::string &destination,
                                            Options options = {}) {
    char folder[4096];
    const ec_status status = ec_install(bundle.c_str(), destination.c_str(), folder, sizeof folder);
    if (status != EC_OK) return Error::of(status);
    return open(folder, options);
  }

  Error preprocess(std::uint64_t batch, std::uint32_t input, std::uint32_t slot, const ec_pixels &pixels) {
    return Error::of(ec_preprocess(session_.get(), batch, input, slot, &pixels));
  }
  Error invoke(std::uint64_t batch) { return Error::of(ec_invoke(session_.get(), batch)); }
  Error selftest(std::uint64_t batch, double *difference = nullptr) {
    return Error::of(ec_selftest(session_.get(), batch, difference));
  }

  // Views into the arena: write the input before invoke, read the output before the next one.
  template <typename T>
  Span<T> input(std::uint64_t batch, std::uint32_t index) noexcept {
    return view<T>(ec_input(session_.get(), batch, index), ec_input_data(session_.get(), batch, index));
  }
  template <typename T>
  Span<const T> output(std::uint64_t batch, std::uint32_t index) const noexcept {
    return view<const T>(ec_output(session_.get(), batch, index), ec_output_data(session_.get(), batch, index));
  }

  const ec_model &model() const noexcept { return *ec_describe(session_.get()); }
  std::uint32_t threads() const noexcept { return ec_threads(session_.get()); }
  const ec_tensor *input_info(std::uint64_t batch, std::uint32_t index) const noexcept {
    return ec_input(session_.get(), batch, index);
  }
  const ec_tensor *output_info(std::uint64_t batch, std::uint32_t index) const noexcept {
    return ec_output(session_.get(), batch, index);
  }

  // For the functions of edgecls.h that have no wrapper; the Session keeps ownership.
  ec_session *get() const noexcept { return session_.get(); }

 private:
  struct Close {
    void operator()(ec_session *session) const noexcept { ec_close(session); }
  };

  explicit Session(ec_session *session) noexcept : session_(session) {}

  static ec_options to_c(const Options &options) noexcept {
    ec_options raw = EC_OPTIONS_INIT;
    raw.threads = options.threads;
    raw.max_batch = options.max_batch;
    raw.flags = options.flags;
    return raw;
  }

  template <typename T, typename Data>
  static Span<T> view(const ec_tensor *tensor, Data *data) noexcept {
    if (!tensor || !data || !is_dtype<std::remove_const_t<T>>(tensor->dtype)) return {};
    return {static_cast<T *>(data), static_cast<std::size_t>(tensor->bytes / sizeof(T))};
  }

  std::unique_ptr<ec_session, Close> session_;
};

}  // namespace edgecls

#endif
