// A small persistent thread pool: condition variables, no spinning, no OpenMP, so that it behaves when another process
// takes a core. Work is a counter of indices; which thread takes which index never changes a result.
#pragma once
#include <functional>

namespace o4d {
int default_threads();
// Calls job(i) for every i in [0, count) on `threads` threads (the caller is one of them) and waits.
void parallel_for(int count, int threads, const std::function<void(int)>& job);
}  // namespace o4d
