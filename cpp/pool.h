// A small persistent thread pool without OpenMP that behaves when another process takes a core: threads look for work for
// some microseconds and then sleep, and helpers that do not come are not waited for. Work is a counter of indices; which
// thread takes which index never changes a result.
#pragma once
#include <functional>

namespace o4d {
int default_threads();
// Calls job(i) for every i in [0, count) on up to `threads` threads (the caller is one of them) and waits.
void parallel_for(int count, int threads, const std::function<void(int)>& job);
}  // namespace o4d
