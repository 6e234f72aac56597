#include "tensor/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace irt {
namespace {

std::mutex g_load_mutex;
std::atomic<const Runtime*> g_runtime{nullptr};

}  // namespace

const Runtime* runtime_or_null() noexcept { return g_runtime.load(std::memory_order_acquire); }

const Runtime& runtime(const char* who) {
  const Runtime* loaded = runtime_or_null();
  if (loaded == nullptr) {
    throw Error(ErrorCode::kBackendFailed,
                std::string("[") + who +
                    "] ONNX Runtime is not loaded: install the [cpu] or [cuda] extra, and call "
                    "load_runtime with the address of OrtGetApiBase first");
  }
  return *loaded;
}

LiveObjects& live_objects() noexcept {
  static LiveObjects live;
  return live;
}

void load_runtime(std::uintptr_t api_base) {
  const std::lock_guard lock(g_load_mutex);
  if (const Runtime* loaded = g_runtime.load(std::memory_order_acquire)) {
    if (loaded->base == api_base) return;
    throw Error(ErrorCode::kBackendFailed,
                "[load_runtime] another ONNX Runtime (" + loaded->version +
                    ") is loaded in this process: keep one of onnxruntime and onnxruntime-gpu");
  }
  if (api_base == 0) {
    throw Error(ErrorCode::kBackendFailed, "[load_runtime] the address of OrtGetApiBase is null");
  }
  const auto* base = reinterpret_cast<const abi::ApiBase* (*)()>(api_base)();
  auto rt = std::make_unique<Runtime>();
  rt->base = api_base;
  rt->version = base->get_version_string();
  // "1.31.1" speaks every table version up to 31; asking for more makes the library print.
  const char* dot = std::strchr(rt->version.c_str(), '.');
  const auto theirs = dot == nullptr ? 0UL : std::strtoul(dot + 1, nullptr, 10);
  const auto version = static_cast<std::uint32_t>(std::min<unsigned long>(theirs, abi::kNewestApi));
  rt->api = version < abi::kOldestApi ? nullptr : base->get_api(version);
  if (rt->api == nullptr) {
    throw Error(ErrorCode::kBackendFailed, "[load_runtime] ONNX Runtime " + rt->version +
                                               " is too old: install onnxruntime>=1.24");
  }
  const std::string where = "[load_runtime] ONNX Runtime " + rt->version;
  const ErrorCode code = ErrorCode::kBackendFailed;
  // What it would log as an error is in the errors that we throw, or is no error: a cancelled run.
  call<abi::CreateEnv>(*rt, code, where, abi::kLogFatal, "interleave_rt", &rt->env);
  call<abi::DisableTelemetryEvents>(*rt, code, where, rt->env);
  call<abi::CreateCpuMemoryInfo>(*rt, code, where, abi::kArenaAllocator, abi::kDefaultMemory,
                                 &rt->cpu_memory);
  call<abi::GetAllocatorWithDefaultOptions>(*rt, code, where, &rt->allocator);
  g_runtime.store(rt.release(), std::memory_order_release);
}

std::string runtime_version() { return runtime("runtime_version").version; }

std::vector<std::string> available_providers() {
  const Runtime& rt = runtime("available_providers");
  char** names = nullptr;
  int count = 0;
  const ErrorCode code = ErrorCode::kBackendFailed;
  call<abi::GetAvailableProviders>(rt, code, "[available_providers]", &names, &count);
  std::vector<std::string> result(names, names + count);
  call<abi::ReleaseAvailableProviders>(rt, code, "[available_providers]", names, count);
  return result;
}

}  // namespace irt
