# pip install ziglang. The number is the oldest glibc that the result runs with.
set(CMAKE_SYSTEM_PROCESSOR armv7)
set(EC_ZIG_TARGET arm-linux-gnueabihf.2.28 -mcpu=cortex_a7)
include("${CMAKE_CURRENT_LIST_DIR}/zig.cmake")
