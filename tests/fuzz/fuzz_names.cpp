// Any text either is refused by parse_format with std::invalid_argument, or means a valid format
// whose own name means it again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "lowp/formats.hpp"

namespace {

void require(bool holds, std::string_view text, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "\"%.*s\": %s\n", static_cast<int>(text.size()), text.data(), what);
    std::abort();
}

void check(std::string_view text) {
    lowp::format f;
    try {
        f = lowp::parse_format(text);
    } catch (const std::invalid_argument& e) {
        require(*e.what() != '\0', text, "refused without a message");
        return;
    }
    try {
        f.validate();
        const std::string name = lowp::name(f);
        require(lowp::parse_format(name) == f, text, "its name means another format");
        require(lowp::name(lowp::parse_format(name)) == name, text, "its name is not stable");
    } catch (const std::invalid_argument& e) {
        require(false, text, e.what());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check({reinterpret_cast<const char*>(data), size});
    return 0;
}

#ifdef LOWP_PLAIN_FUZZ
// Without libFuzzer: random texts made of the parts of names. Argument: how many.
#include <random>

int main(int argc, char** argv) {
    static constexpr std::string_view parts[] = {"e",     "m",
                                                 "u",     "b",
                                                 "-",     "fn",
                                                 "fnuz",  "f",
                                                 "_",     "no",
                                                 "nan",   "inf",
                                                 "nz",    "sub",
                                                 "zero",  "int",
                                                 "q",     ".",
                                                 "p",     "s",
                                                 "k",     "p3109_k",
                                                 "float", "0",
                                                 "1",     "2",
                                                 "3",     "4",
                                                 "5",     "7",
                                                 "8",     "10",
                                                 "11",    "23",
                                                 "52",    "127",
                                                 "999",   "99999999999999999",
                                                 "e4m3",  "ue5m3",
                                                 "e5m2b", "\xFF",
                                                 " "};
    const long count = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
    std::mt19937_64 engine(1);
    for (long i = 0; i < count; ++i) {
        std::string text;
        for (std::uint64_t n = engine() % 12; n > 0; --n)
            text.append(parts[engine() % std::size(parts)]);
        check(text);
    }
    std::printf("%ld texts\n", count);
    return 0;
}
#endif
