// Any text either is refused by parse_format with std::invalid_argument, or means a valid format
// whose own name means it again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lowp/formats.hpp"
#include "names.hpp"

namespace {

void check(std::string_view text) { lowp::fuzz::check_name(text, lowp::parse_format); }

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
