// ONNX Runtime by address: the library is loaded by Python (or by a test program), never linked.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "tensor/ort_abi.h"
#include "tensor/session.h"

namespace irt {

// The process-wide runtime. `api_base` is the address of OrtGetApiBase in the loaded library.
// The first call wins; a later call with another address throws Error(kBackendFailed).
// Thread-safe.
void load_runtime(std::uintptr_t api_base);
[[nodiscard]] std::string runtime_version();
[[nodiscard]] std::vector<std::string> available_providers();

// Objects of this library that are alive in the process: what leak checks compare.
struct LiveObjects {
  std::atomic<int> sessions{0};
  std::atomic<int> values{0};
  std::atomic<int> runs{0};
};
[[nodiscard]] LiveObjects& live_objects() noexcept;

// A graph of its own. Throws Error(kBackendFailed) where the library or a provider is missing,
// Error(kBadPack) for a file that is no graph.
[[nodiscard]] std::unique_ptr<Graph> open_ort_graph(const std::string& path,
                                                    const SessionOptions& options);

// ---- inside of runtime.cpp and ort_graph.cpp ------------------------------------------------

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

// Calls a function that returns a status; on failure throws Error(code) with `where`, the
// function's name and the library's message.
template <typename Slot, typename... Args>
void call(const Runtime& rt, ErrorCode code, const std::string& where, Args... args) {
  OrtStatus* status = function_in<Slot>(rt.api)(args...);
  if (status == nullptr) return;
  throw Error(code, where + ": " + Slot::kName + ": " + take_message(rt.api, status));
}

// Memory of a provider, e.g. "Cuda", in which its graphs work. A device of its own every time: see
// Session::device for the one that sessions share. Throws Error(kBackendFailed) where a copy or a
// sum does not come out as on the host.
[[nodiscard]] DeviceRef open_device(const std::string& name, const char* memory,
                                    const SessionOptions& options);

}  // namespace irt
