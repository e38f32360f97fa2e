// Compiled with AVX2 and FMA.
#define O4D_NAMESPACE avx2
#include "kernel.inl"
