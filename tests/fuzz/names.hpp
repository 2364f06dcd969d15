// What the fuzzers of names share: a text is refused with a message, or means a valid format whose own
// name means it again.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace lowp::fuzz {

inline void require(bool holds, std::string_view text, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "\"%.*s\": %s\n", static_cast<int>(text.size()), text.data(), what);
    std::abort();
}

/// parse(text): a format, or std::invalid_argument.
template <class Parse>
void check_name(std::string_view text, const Parse& parse) {
    decltype(parse(text)) f;
    try {
        f = parse(text);
    } catch (const std::invalid_argument& e) {
        require(*e.what() != '\0', text, "refused without a message");
        return;
    }
    try {
        f.validate();
        const std::string its_name = name(f);
        require(parse(its_name) == f, text, "its name means another format");
        require(name(parse(its_name)) == its_name, text, "its name is not stable");
    } catch (const std::invalid_argument& e) {
        require(false, text, e.what());
    }
}

}  // namespace lowp::fuzz
