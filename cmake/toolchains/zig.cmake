# Included with EC_ZIG_TARGET set. -DEDGECLS_PYTHON=... chooses the Python that has ziglang.
set(CMAKE_SYSTEM_NAME Linux)
set(EDGECLS_PYTHON python3 CACHE STRING "Python with the package ziglang")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES EDGECLS_PYTHON)
set(CMAKE_C_COMPILER "${EDGECLS_PYTHON}" -m ziglang cc -target ${EC_ZIG_TARGET})
set(CMAKE_CXX_COMPILER "${EDGECLS_PYTHON}" -m ziglang c++ -target ${EC_ZIG_TARGET})

# CMake wants ar and ranlib to be one program each
foreach(tool ar ranlib)
  set(wrapper "${CMAKE_BINARY_DIR}/zig-${tool}")
  if(NOT EXISTS "${wrapper}")
    file(WRITE "${wrapper}" "#!/bin/sh\nexec '${EDGECLS_PYTHON}' -m ziglang ${tool} \"$@\"\n")
    file(CHMOD "${wrapper}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  endif()
  string(TOUPPER ${tool} name)
  set(CMAKE_${name} "${wrapper}")
endforeach()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
