#include "pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace o4d {
namespace {

// How often a thread looks before it sleeps: some 20 microseconds, less than waking it costs. The steps of one call follow each
// other faster than that; a thread whose core somebody else wants gives it up soon.
constexpr int kLooks = 500;

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#endif
}

template <class Ready>
bool spin(Ready&& ready) {
  for (int i = 0; i < kLooks; ++i) {
    if (ready()) return true;
    pause();
  }
  return ready();
}

#if defined(__linux__)
int current_core() { return sched_getcpu(); }
// The kernel likes to wake a thread on the core of the one that called it, and may leave both there while another core idles.
void leave(int core) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  cpu_set_t others = allowed;
  CPU_CLR(core, &others);
  if (!CPU_COUNT(&others)) return;
  sched_setaffinity(0, sizeof others, &others);
  sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
int current_core() { return -1; }
void leave(int) {}
#endif

class Pool {
 public:
  explicit Pool(int workers) : owner(static_cast<int>(getpid())), size(workers) {
    for (int i = 0; i < workers; ++i) std::thread([this] { work(); }).detach();
  }

  void run(int count, int helpers, const std::function<void(int)>& body) {
    std::lock_guard<std::mutex> only(exclusive);
    {
      std::lock_guard<std::mutex> lock(mutex);
      job = &body;
      limit = count;
      welcome = helpers;
      core = current_core();
      next.store(0, std::memory_order_relaxed);
      generation.fetch_add(1, std::memory_order_release);
      if (asleep) wake.notify_all();
    }
    drain(body, count);  // throws nothing: what a job throws is kept until nobody works on it any more
    // Whoever has not come by now is not waited for: its core may be busy with something else.
    std::unique_lock<std::mutex> lock(mutex);
    job = nullptr;
    if (busy.load(std::memory_order_relaxed)) {
      lock.unlock();
      spin([this] { return busy.load(std::memory_order_acquire) == 0; });
      lock.lock();
      done.wait(lock, [this] { return busy.load(std::memory_order_relaxed) == 0; });
    }
    if (std::exception_ptr error = std::exchange(thrown, nullptr)) std::rethrow_exception(error);
  }

  const int owner, size;

 private:
  void drain(const std::function<void(int)>& body, int count) {
    try {
      for (int i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      thrown = std::current_exception();
      next.store(count);
    }
  }

  void work() {
    unsigned long seen = 0;
    auto called = [&] { return generation.load(std::memory_order_acquire) != seen; };
    for (;;) {
      const bool awake = spin(called);
      std::unique_lock<std::mutex> lock(mutex);
      if (!awake) {
        ++asleep;
        wake.wait(lock, called);
        --asleep;
      }
      seen = generation.load(std::memory_order_relaxed);
      if (!job || welcome == 0) continue;
      --welcome;
      busy.fetch_add(1, std::memory_order_relaxed);
      const std::function<void(int)>& body = *job;
      const int count = limit, caller = core;
      lock.unlock();
      if (caller >= 0 && current_core() == caller) leave(caller);
      drain(body, count);
      lock.lock();
      if (busy.fetch_sub(1, std::memory_order_release) == 1) done.notify_one();
    }
  }

  std::mutex exclusive, mutex;
  std::condition_variable wake, done;
  std::atomic<unsigned long> generation{0};
  std::atomic<int> next{0}, busy{0};
  const std::function<void(int)>* job = nullptr;
  std::exception_ptr thrown;
  int limit = 0, welcome = 0, asleep = 0, core = -1;
};

}  // namespace

int default_threads() {
  if (const char* text = std::getenv("ORBIT4D_THREADS")) {
    const int value = std::atoi(text);
    if (value > 0) return std::min(value, 64);
  }
  return std::max(1, std::min(8, static_cast<int>(std::thread::hardware_concurrency())));
}

void parallel_for(int count, int threads, const std::function<void(int)>& job) {
  const int helpers = std::min(threads, count) - 1;
  if (helpers <= 0) {
    for (int i = 0; i < count; ++i) job(i);
    return;
  }
  static std::mutex guard;
  static Pool* pool = nullptr;  // never destroyed: its threads are detached; replaced after a fork or when more are asked for
  Pool* current;
  {
    std::lock_guard<std::mutex> lock(guard);
    if (!pool || pool->owner != static_cast<int>(getpid()) || pool->size < helpers) pool = new Pool(std::max(helpers, default_threads() - 1));
    current = pool;
  }
  current->run(count, helpers, job);
}

}  // namespace o4d
