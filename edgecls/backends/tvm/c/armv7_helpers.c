/* Arithmetic that 32-bit Arm does by a call, under the names TVM's LLVM uses.
 *
 * LLVM calls __floatdisf and its like with floats in VFP registers. Compilers for the Arm EABI do these operations by
 * __aeabi_*, which take floats in core registers. What they call __floatdisf is absent (compiler-rt of zig) or, worse,
 * another name of __aeabi_l2f and so looks for its argument in the wrong register (libgcc). Therefore the linker is
 * told to --wrap these names: the calls arrive here, in C that this compiler turns into instructions or __aeabi_*.
 *
 * Weak and hidden: models linked into one program share one copy, and nobody outside sees it.
 */
#define HELPER(result, name, ...) \
  __attribute__((weak, visibility("hidden"))) result __wrap___##name(__VA_ARGS__); \
  result __wrap___##name(__VA_ARGS__)
#define UNARY(result, name, operand) HELPER(result, name, operand x) { return (result)x; }
#define BINARY(type, name, operator) HELPER(type, name, type x, type y) { return x operator y; }
#define SHIFT(type, name, operator) HELPER(type, name, type x, int n) { return x operator n; }

typedef long long s64;
typedef unsigned long long u64;

UNARY(float, floatdisf, s64)
UNARY(float, floatundisf, u64)
UNARY(double, floatdidf, s64)
UNARY(double, floatundidf, u64)
UNARY(s64, fixsfdi, float)
UNARY(u64, fixunssfdi, float)
UNARY(s64, fixdfdi, double)
UNARY(u64, fixunsdfdi, double)

BINARY(int, divsi3, /)
BINARY(int, modsi3, %)
BINARY(unsigned, udivsi3, /)
BINARY(unsigned, umodsi3, %)
BINARY(s64, divdi3, /)
BINARY(s64, moddi3, %)
BINARY(u64, udivdi3, /)
BINARY(u64, umoddi3, %)
BINARY(s64, muldi3, *)

SHIFT(s64, ashldi3, <<)
SHIFT(s64, ashrdi3, >>)
SHIFT(u64, lshrdi3, >>)
