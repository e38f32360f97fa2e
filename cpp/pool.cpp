#include "pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif

namespace o4d {
namespace {

class Pool {
 public:
  explicit Pool(int workers) : owner(static_cast<int>(getpid())), size(workers) {
    for (int i = 0; i < workers; ++i) std::thread([this, i] { work(i); }).detach();
  }

  void run(int count, int helpers, const std::function<void(int)>& body) {
    std::unique_lock<std::mutex> only(exclusive);
    next.store(0);
    {
      std::lock_guard<std::mutex> lock(mutex);
      job = &body;
      limit = count;
      invited = helpers;
      busy = helpers;
      ++generation;
    }
    wake.notify_all();
    drain(body, count);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [this] { return busy == 0; });
    job = nullptr;
  }

  const int owner, size;

 private:
  void drain(const std::function<void(int)>& body, int count) {
    for (int i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
  }

  void work(int index) {
    unsigned long seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return generation != seen; });
      seen = generation;
      if (index >= invited) continue;
      const std::function<void(int)>* body = job;
      const int count = limit;
      lock.unlock();
      drain(*body, count);
      lock.lock();
      if (--busy == 0) done.notify_one();
    }
  }

  std::mutex exclusive, mutex;
  std::condition_variable wake, done;
  std::atomic<int> next{0};
  const std::function<void(int)>* job = nullptr;
  int limit = 0, invited = 0, busy = 0;
  unsigned long generation = 0;
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
