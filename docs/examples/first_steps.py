"""What a few numbers become in FP8, FP6 and FP4: value, code, error."""

import lowp

numbers = [0.3, 1.0, -2.6, 17.0, 500.0, 1e-3]

for name in ["float8_e4m3fn", "float8_e5m2", "float6_e3m2fn", "float4_e2m1fn"]:
    f = lowp.format(name)
    print(f"{name}: {f.bits} bits, largest {f.max:g}, smallest {f.min_subnormal:g}")
    for x in numbers:
        y = lowp.quantize(x, f, saturation="finite")
        code = lowp.encode(x, f, saturation="finite")
        print(f"  {x:8g} -> {y:<10g} code {code:0{f.bits}b}")
