// The part of ONNX Runtime's C ABI that is used, declared by ourselves: slot numbers and signatures
// of an append-only function table. ort_abi_check.cpp proves every line against the official
// header.
#pragma once

#include <cstddef>
#include <cstdint>

// Opaque types, under the names that the library gives them.
struct OrtAllocator;
struct OrtCUDAProviderOptionsV2;
struct OrtEnv;
struct OrtIoBinding;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtTypeInfo;
struct OrtValue;

namespace irt::abi {

// The versions of the table whose slots are known here; a newer library answers for older versions.
inline constexpr std::uint32_t kOldestApi = 12;
inline constexpr std::uint32_t kNewestApi = 21;

// C enums cross the boundary as 32-bit integers.
using Enum = std::int32_t;
inline constexpr Enum kLogFatal = 4;
inline constexpr Enum kDeviceAllocator = 0;
inline constexpr Enum kArenaAllocator = 1;
inline constexpr Enum kDefaultMemory = 0;
// The function table: an array of function pointers.
struct Api {
  void* slots[1];
};

struct ApiBase {
  const Api* (*get_api)(std::uint32_t version);
  const char* (*get_version_string)();
};

// A slot of the table: its number and the type of the function in it.
template <std::size_t kNumber, typename Signature>
struct Slot {
  static constexpr std::size_t kIndex = kNumber;
  using Function = Signature*;
};

using Strings = const char* const*;

// Every function that is used: its name, its slot, its type.
#define IRT_ORT_FUNCTIONS(X)                                                                       \
  X(GetErrorMessage, 2, const char*(const OrtStatus*))                                             \
  X(CreateEnv, 3, OrtStatus*(Enum level, const char* id, OrtEnv**))                                \
  X(DisableTelemetryEvents, 6, OrtStatus*(const OrtEnv*))                                          \
  X(CreateSession, 7,                                                                              \
    OrtStatus*(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**))           \
  X(CreateSessionFromArray, 8,                                                                     \
    OrtStatus*(const OrtEnv*, const void* model, std::size_t, const OrtSessionOptions*,            \
               OrtSession**))                                                                      \
  X(CreateSessionOptions, 10, OrtStatus*(OrtSessionOptions**))                                     \
  X(SetIntraOpNumThreads, 24, OrtStatus*(OrtSessionOptions*, int))                                 \
  X(SetInterOpNumThreads, 25, OrtStatus*(OrtSessionOptions*, int))                                 \
  X(SessionGetInputCount, 30, OrtStatus*(const OrtSession*, std::size_t*))                         \
  X(SessionGetOutputCount, 31, OrtStatus*(const OrtSession*, std::size_t*))                        \
  X(SessionGetInputTypeInfo, 33, OrtStatus*(const OrtSession*, std::size_t index, OrtTypeInfo**))  \
  X(SessionGetOutputTypeInfo, 34, OrtStatus*(const OrtSession*, std::size_t index, OrtTypeInfo**)) \
  X(SessionGetInputName, 36,                                                                       \
    OrtStatus*(const OrtSession*, std::size_t index, OrtAllocator*, char**))                       \
  X(SessionGetOutputName, 37,                                                                      \
    OrtStatus*(const OrtSession*, std::size_t index, OrtAllocator*, char**))                       \
  X(CreateRunOptions, 39, OrtStatus*(OrtRunOptions**))                                             \
  X(RunOptionsSetTerminate, 46, OrtStatus*(OrtRunOptions*))                                        \
  X(CreateTensorWithDataAsOrtValue, 49,                                                            \
    OrtStatus*(const OrtMemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape,     \
               std::size_t rank, Enum type, OrtValue**))                                           \
  X(CastTypeInfoToTensorInfo, 55,                                                                  \
    OrtStatus*(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**))                             \
  X(GetTensorElementType, 60, OrtStatus*(const OrtTensorTypeAndShapeInfo*, Enum*))                 \
  X(GetDimensionsCount, 61, OrtStatus*(const OrtTensorTypeAndShapeInfo*, std::size_t*))            \
  X(GetDimensions, 62, OrtStatus*(const OrtTensorTypeAndShapeInfo*, std::int64_t*, std::size_t))   \
  X(CreateMemoryInfo, 68,                                                                          \
    OrtStatus*(const char* name, Enum allocator, int id, Enum memory, OrtMemoryInfo**))            \
  X(CreateCpuMemoryInfo, 69, OrtStatus*(Enum allocator, Enum memory, OrtMemoryInfo**))             \
  X(AllocatorAlloc, 75, OrtStatus*(OrtAllocator*, std::size_t bytes, void**))                      \
  X(AllocatorFree, 76, OrtStatus*(OrtAllocator*, void*))                                           \
  X(GetAllocatorWithDefaultOptions, 78, OrtStatus*(OrtAllocator**))                                \
  X(ReleaseStatus, 93, void(OrtStatus*))                                                           \
  X(ReleaseMemoryInfo, 94, void(OrtMemoryInfo*))                                                   \
  X(ReleaseSession, 95, void(OrtSession*))                                                         \
  X(ReleaseValue, 96, void(OrtValue*))                                                             \
  X(ReleaseRunOptions, 97, void(OrtRunOptions*))                                                   \
  X(ReleaseTypeInfo, 98, void(OrtTypeInfo*))                                                       \
  X(ReleaseSessionOptions, 100, void(OrtSessionOptions*))                                          \
  X(GetAvailableProviders, 125, OrtStatus*(char***, int*))                                         \
  X(ReleaseAvailableProviders, 126, OrtStatus*(char**, int))                                       \
  X(AddSessionConfigEntry, 130,                                                                    \
    OrtStatus*(OrtSessionOptions*, const char* key, const char* value))                            \
  X(CreateAllocator, 131, OrtStatus*(const OrtSession*, const OrtMemoryInfo*, OrtAllocator**))     \
  X(ReleaseAllocator, 132, void(OrtAllocator*))                                                    \
  X(RunWithBinding, 133, OrtStatus*(OrtSession*, const OrtRunOptions*, const OrtIoBinding*))       \
  X(CreateIoBinding, 134, OrtStatus*(OrtSession*, OrtIoBinding**))                                 \
  X(ReleaseIoBinding, 135, void(OrtIoBinding*))                                                    \
  X(BindInput, 136, OrtStatus*(OrtIoBinding*, const char* name, const OrtValue*))                  \
  X(BindOutput, 137, OrtStatus*(OrtIoBinding*, const char* name, const OrtValue*))                 \
  X(ClearBoundInputs, 141, void(OrtIoBinding*))                                                    \
  X(ClearBoundOutputs, 142, void(OrtIoBinding*))                                                   \
  X(SynchronizeBoundInputs, 202, OrtStatus*(OrtIoBinding*))                                        \
  X(SynchronizeBoundOutputs, 203, OrtStatus*(OrtIoBinding*))                                       \
  X(SessionOptionsAppendExecutionProvider_CUDA_V2, 204,                                            \
    OrtStatus*(OrtSessionOptions*, const OrtCUDAProviderOptionsV2*))                               \
  X(CreateCUDAProviderOptions, 205, OrtStatus*(OrtCUDAProviderOptionsV2**))                        \
  X(UpdateCUDAProviderOptions, 206,                                                                \
    OrtStatus*(OrtCUDAProviderOptionsV2*, Strings keys, Strings values, std::size_t))              \
  X(ReleaseCUDAProviderOptions, 208, void(OrtCUDAProviderOptionsV2*))                              \
  X(SessionOptionsAppendExecutionProvider, 216,                                                    \
    OrtStatus*(OrtSessionOptions*, const char* name, Strings keys, Strings values,                 \
               std::size_t count))

#define IRT_ORT_SLOT(name, slot, ...)           \
  struct name : Slot<slot, __VA_ARGS__> {       \
    static constexpr const char* kName = #name; \
  };
IRT_ORT_FUNCTIONS(IRT_ORT_SLOT)
#undef IRT_ORT_SLOT

}  // namespace irt::abi
