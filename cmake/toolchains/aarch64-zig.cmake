# pip install ziglang. The number is the oldest glibc that the result runs with.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(EC_ZIG_TARGET aarch64-linux-gnu.2.28)
include("${CMAKE_CURRENT_LIST_DIR}/zig.cmake")
