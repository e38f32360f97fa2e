// Compiled for the least that the platform guarantees.
#define O4D_NAMESPACE base
#include "kernel.inl"
