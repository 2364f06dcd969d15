"""A format of one's own: five bits, three of them exponent, no infinity, one NaN."""

import lowp
import numpy as np

mine = lowp.Format(exponent_bits=3, mantissa_bits=1, bias=3, nan_codes=1)
print(f"{mine}: {mine.bits} bits, {mine.finite_values} values")
print("values", " ".join(f"{x:g}" for x in mine.values() if x >= 0))
print("5.1 ->", f"{lowp.quantize(5.1, mine):g}")

codes = lowp.encode(np.arange(8, dtype=np.float32), mine)
print("codes of 0..7", " ".join(str(c) for c in codes))
packed = lowp.pack(codes, mine.bits)
print(f"packed into {packed.size} bytes:", " ".join(f"{b:02x}" for b in packed))
assert (lowp.unpack(packed, mine.bits, codes.size) == codes).all()
