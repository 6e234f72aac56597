#include "core/error.h"

#include <new>

namespace irt {

Failure current_failure() noexcept {
  try {
    try {
      throw;
    } catch (const Error& error) {
      return {error.code(), error.what()};
    } catch (const std::bad_alloc&) {
    } catch (const std::exception& error) {
      return {ErrorCode::kBackendFailed, error.what()};
    } catch (...) {
      return {ErrorCode::kBackendFailed, "something that is no std::exception was thrown"};
    }
  } catch (...) {  // no memory to say it
  }
  return {ErrorCode::kBackendFailed, "out of memory"};  // short: needs none itself
}

bool out_of_memory() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const OutOfMemory&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace irt
