// The error that crosses every layer; translated once, in bind/, to interleave_rt.errors.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace irt {

// Mirrors the classes of interleave_rt/errors.py, one to one.
enum class ErrorCode {
  kBadRequest,     // the caller's input is wrong
  kBadPack,        // a model file or its contract is wrong
  kLimitExceeded,  // over a documented limit
  kBackendFailed,  // a lane threw or died
  kDeadline,       // the request ran out of time
  kCancelled,      // somebody asked for it
  kOverloaded,     // admission refused; try later
  kInternal,       // a broken invariant of ours
  kClosed,         // the engine takes nothing more
};

inline constexpr const char* kErrorNames[] = {"bad_request",    "bad_pack", "limit_exceeded",
                                              "backend_failed", "deadline", "cancelled",
                                              "overloaded",     "internal", "closed"};

[[nodiscard]] constexpr const char* to_string(ErrorCode code) {
  return kErrorNames[static_cast<std::size_t>(code)];
}

// An error as a value: what lanes and the scheduler hand around.
struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

// Memory that a computation asked for is not there: less at once may do.
class OutOfMemory final : public Error {
 public:
  explicit OutOfMemory(const std::string& message) : Error(ErrorCode::kBackendFailed, message) {}
};

// What is being handled in a `catch`, as a failure. Never throws: without memory it says little.
[[nodiscard]] Failure current_failure() noexcept;
// Whether what is being handled in a `catch` is want of memory.
[[nodiscard]] bool out_of_memory() noexcept;

}  // namespace irt
