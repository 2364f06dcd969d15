// Runs the tests of src/cuda where a GPU is.
#define DOCTEST_CONFIG_IMPLEMENT
#include "device.hpp"

int main(int count, char** arguments) {
    if (!lowp::test::has_device()) {
        std::printf("skipped: no CUDA device on this machine\n");
        return 0;
    }
    return doctest::Context(count, arguments).run();
}
