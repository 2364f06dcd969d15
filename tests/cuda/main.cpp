// Runs the tests of src/cuda where a GPU is.
#define DOCTEST_CONFIG_IMPLEMENT
#include "device.hpp"

int main(int count, char** arguments) {
    constexpr int skipped = 77;  // as CMakeLists.txt tells ctest
    if (!lowp::test::has_device()) {
        std::printf("skipped: no CUDA device on this machine\n");
        return skipped;
    }
    return doctest::Context(count, arguments).run();
}
