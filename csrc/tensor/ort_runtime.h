// Inside of ort.cpp and ort_session.cpp: the loaded library and how its functions are called.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "tensor/ort.h"
#include "tensor/ort_abi.h"

namespace irt {

// What is reached through the loaded library. Made once and kept until the process ends: sessions
// and Python's own use of the library may outlive any order of destruction.
struct Runtime {
  std::uintptr_t base = 0;
  const abi::Api* api = nullptr;
  OrtEnv* env = nullptr;
  OrtMemoryInfo* cpu_memory = nullptr;
  OrtAllocator* allocator = nullptr;
  std::string version;
};

// Throws Error(kBackendFailed) in the name of `who` while no library is loaded.
[[nodiscard]] const Runtime& runtime(const char* who);
// Null while no library is loaded.
[[nodiscard]] const Runtime* runtime_or_null() noexcept;

// What live_objects() reports.
struct LiveCounters {
  std::atomic<int> sessions{0};
  std::atomic<int> values{0};
  std::atomic<int> runs{0};
};
[[nodiscard]] LiveCounters& live_counters() noexcept;

[[nodiscard]] abi::Enum to_onnx(ElementType type) noexcept;

template <typename Slot>
[[nodiscard]] typename Slot::Function function_in(const abi::Api* api) noexcept {
  return reinterpret_cast<typename Slot::Function>(api->slots[Slot::kIndex]);
}

// The message of a failed status, which is released; empty where the call succeeded.
[[nodiscard]] inline std::string take_message(const abi::Api* api, OrtStatus* status) {
  if (status == nullptr) return {};
  std::string message = function_in<abi::GetErrorMessage>(api)(status);
  function_in<abi::ReleaseStatus>(api)(status);
  return message.empty() ? "ONNX Runtime gave no reason" : message;
}

// Calls a function that returns a status; throws Error(code, where + message) on failure.
template <typename Slot, typename... Args>
void call(const Runtime& rt, ErrorCode code, const std::string& where, Args... args) {
  OrtStatus* status = function_in<Slot>(rt.api)(args...);
  if (status != nullptr) throw Error(code, where + ": " + take_message(rt.api, status));
}

template <typename Slot, typename T>
void release(T* object) noexcept {
  const Runtime* rt = runtime_or_null();
  if (object != nullptr && rt != nullptr) function_in<Slot>(rt->api)(object);
}

struct Value::Impl {
  OrtValue* value = nullptr;
  explicit Impl(OrtValue* made) noexcept : value(made) { ++live_counters().values; }
  ~Impl() {
    release<abi::ReleaseValue>(value);
    --live_counters().values;
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

}  // namespace irt
