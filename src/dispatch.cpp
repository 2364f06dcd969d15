#include "lowp/dispatch.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace lowp::dispatch {

namespace detail {
extern const lowp::detail::loop_table loops_baseline;
#ifdef LOWP_HAS_AVX2
extern const lowp::detail::loop_table loops_avx2;
#endif
#ifdef LOWP_HAS_AVX512
extern const lowp::detail::loop_table loops_avx512;
#endif
#ifdef LOWP_HAS_NEON
extern const lowp::detail::loop_table loops_neon;
#endif
}  // namespace detail

namespace {

std::vector<const lowp::detail::loop_table*> tables() {
    std::vector<const lowp::detail::loop_table*> found{&detail::loops_baseline};
#ifdef LOWP_HAS_NEON
    found.push_back(&detail::loops_neon);
#endif
#ifdef LOWP_HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        found.push_back(&detail::loops_avx2);
#endif
#ifdef LOWP_HAS_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        found.push_back(&detail::loops_avx512);
#endif
    return found;
}

const lowp::detail::loop_table& chosen() {
    const char* const wanted = std::getenv("LOWP_ISA");
    if (wanted == nullptr || *wanted == '\0') return *tables().back();
    return loops(wanted);
}

}  // namespace

std::vector<std::string_view> available() {
    std::vector<std::string_view> names;
    for (const auto* table : tables()) names.emplace_back(table->isa);
    return names;
}

const lowp::detail::loop_table& loops() {
    static const lowp::detail::loop_table& table = chosen();
    return table;
}

const lowp::detail::loop_table& loops(std::string_view isa) {
    std::string names;
    for (const auto* table : tables()) {
        if (isa == table->isa) return *table;
        names.append(names.empty() ? "" : ", ").append(table->isa);
    }
    throw std::invalid_argument("LOWP_ISA: \"" + std::string(isa) +
                                "\" is not available on this machine; use one of " + names);
}

}  // namespace lowp::dispatch
