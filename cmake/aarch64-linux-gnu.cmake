# Cross build for 64-bit Arm (NEON), run under qemu: Debian's g++-aarch64-linux-gnu, qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
# Libraries and CMake packages of the build machine are of the wrong architecture; the headers of
# header-only dependencies (doctest, xsimd, Boost, Eigen) are the same for all.
file(GLOB xsimd_DIR /usr/lib/*/cmake/xsimd)
