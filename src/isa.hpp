// What the sources of one instruction set share: their tables carry its name, LOWP_ISA_NAME.
#pragma once

#define LOWP_JOIN(a, b) a##b
#define LOWP_NAMED(table, isa) LOWP_JOIN(table, isa)
#define LOWP_TEXT(isa) #isa
#define LOWP_STRING(isa) LOWP_TEXT(isa)
#define LOWP_LOOPS LOWP_NAMED(loops_, LOWP_ISA_NAME)
#define LOWP_ARITHMETIC LOWP_NAMED(arithmetic_, LOWP_ISA_NAME)
#define LOWP_PRODUCTS LOWP_NAMED(products_, LOWP_ISA_NAME)
