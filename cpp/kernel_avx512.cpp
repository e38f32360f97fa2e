// Compiled with AVX-512 F, BW, DQ and VL: vectors of sixteen.
#define O4D_NAMESPACE avx512
#define O4D_WIDE
#include "kernel.inl"
