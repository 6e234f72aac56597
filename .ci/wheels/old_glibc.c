// What g++ 12's headers and libstdc++.a ask of glibc and glibc 2.28 does not have.
#include <pthread.h>
#include <time.h>

// Says that no second thread was ever started, so that counters need not be atomic: never claimed.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

int __real_pthread_cond_clockwait(pthread_cond_t*, pthread_mutex_t*, clockid_t,
                                  const struct timespec*) __attribute__((weak));

// Where glibc is older than 2.30: waits by the wall clock, at most a second at a time, for that
// clock may be set meanwhile. To wake too early is allowed, and the caller looks at its own clock.
int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  clockid_t clock, const struct timespec* until) {
  if (__real_pthread_cond_clockwait)
    return __real_pthread_cond_clockwait(condition, mutex, clock, until);
  const long long second = 1000000000;
  struct timespec now, wall;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &wall);
  long long left = (until->tv_sec - now.tv_sec) * second + until->tv_nsec - now.tv_nsec;
  left = left < 0 ? 0 : left > second ? second : left;
  left += wall.tv_nsec;
  wall.tv_sec += left / second;
  wall.tv_nsec = left % second;
  return pthread_cond_timedwait(condition, mutex, &wall);
}
