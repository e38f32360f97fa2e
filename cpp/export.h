// How a function joins the C ABI.
#pragma once

#if defined(_WIN32)
#define O4D_EXPORT extern "C" __declspec(dllexport)
#else
#define O4D_EXPORT extern "C" __attribute__((visibility("default")))
#endif
