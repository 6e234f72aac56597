// Python's lock, given up while the core works or waits.
#pragma once

#include <cxxabi.h>
#include <nanobind/nanobind.h>
#include <unistd.h>

namespace irt {

// Before 3.14 Python ends a thread that comes back while the interpreter goes by unwinding its
// stack, from inside PyEval_RestoreThread. Frames that catch everything, as nanobind's do, or
// destructors make an abort of that: the thread stays here for the moment that the process has.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (const abi::__forced_unwind&) {
      for (;;) pause();
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace irt
