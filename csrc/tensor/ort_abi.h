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
inline constexpr Enum kLogError = 3;
inline constexpr Enum kDeviceAllocator = 0;
inline constexpr Enum kArenaAllocator = 1;
inline constexpr Enum kDefaultMemory = 0;
inline constexpr Enum kFloat = 1;
inline constexpr Enum kUint8 = 2;
inline constexpr Enum kInt32 = 6;
inline constexpr Enum kInt64 = 7;
inline constexpr Enum kBool = 9;
inline constexpr Enum kFloat16 = 10;

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

using GetErrorMessage = Slot<2, const char*(const OrtStatus*)>;
using CreateEnv = Slot<3, OrtStatus*(Enum level, const char* id, OrtEnv**)>;
using DisableTelemetryEvents = Slot<6, OrtStatus*(const OrtEnv*)>;
using CreateSession =
    Slot<7, OrtStatus*(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**)>;
using CreateSessionFromArray = Slot<8, OrtStatus*(const OrtEnv*, const void* model, std::size_t,
                                                  const OrtSessionOptions*, OrtSession**)>;
using CreateSessionOptions = Slot<10, OrtStatus*(OrtSessionOptions**)>;
using SetIntraOpNumThreads = Slot<24, OrtStatus*(OrtSessionOptions*, int)>;
using SetInterOpNumThreads = Slot<25, OrtStatus*(OrtSessionOptions*, int)>;
using SessionGetInputCount = Slot<30, OrtStatus*(const OrtSession*, std::size_t*)>;
using SessionGetOutputCount = Slot<31, OrtStatus*(const OrtSession*, std::size_t*)>;
using SessionGetInputTypeInfo =
    Slot<33, OrtStatus*(const OrtSession*, std::size_t index, OrtTypeInfo**)>;
using SessionGetOutputTypeInfo =
    Slot<34, OrtStatus*(const OrtSession*, std::size_t index, OrtTypeInfo**)>;
using SessionGetInputName =
    Slot<36, OrtStatus*(const OrtSession*, std::size_t index, OrtAllocator*, char**)>;
using SessionGetOutputName =
    Slot<37, OrtStatus*(const OrtSession*, std::size_t index, OrtAllocator*, char**)>;
using CreateRunOptions = Slot<39, OrtStatus*(OrtRunOptions**)>;
using RunOptionsSetTerminate = Slot<46, OrtStatus*(OrtRunOptions*)>;
using CreateTensorWithDataAsOrtValue =
    Slot<49, OrtStatus*(const OrtMemoryInfo*, void* data, std::size_t bytes,
                        const std::int64_t* shape, std::size_t rank, Enum type, OrtValue**)>;
using CastTypeInfoToTensorInfo =
    Slot<55, OrtStatus*(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**)>;
using GetTensorElementType = Slot<60, OrtStatus*(const OrtTensorTypeAndShapeInfo*, Enum*)>;
using GetDimensionsCount = Slot<61, OrtStatus*(const OrtTensorTypeAndShapeInfo*, std::size_t*)>;
using GetDimensions =
    Slot<62, OrtStatus*(const OrtTensorTypeAndShapeInfo*, std::int64_t*, std::size_t)>;
using CreateMemoryInfo =
    Slot<68, OrtStatus*(const char* name, Enum allocator, int id, Enum memory, OrtMemoryInfo**)>;
using CreateCpuMemoryInfo = Slot<69, OrtStatus*(Enum allocator, Enum memory, OrtMemoryInfo**)>;
using AllocatorAlloc = Slot<75, OrtStatus*(OrtAllocator*, std::size_t bytes, void**)>;
using AllocatorFree = Slot<76, OrtStatus*(OrtAllocator*, void*)>;
using GetAllocatorWithDefaultOptions = Slot<78, OrtStatus*(OrtAllocator**)>;
using ReleaseStatus = Slot<93, void(OrtStatus*)>;
using ReleaseMemoryInfo = Slot<94, void(OrtMemoryInfo*)>;
using ReleaseSession = Slot<95, void(OrtSession*)>;
using ReleaseValue = Slot<96, void(OrtValue*)>;
using ReleaseRunOptions = Slot<97, void(OrtRunOptions*)>;
using ReleaseTypeInfo = Slot<98, void(OrtTypeInfo*)>;
using ReleaseSessionOptions = Slot<100, void(OrtSessionOptions*)>;
using GetAvailableProviders = Slot<125, OrtStatus*(char***, int*)>;
using ReleaseAvailableProviders = Slot<126, OrtStatus*(char**, int)>;
using AddSessionConfigEntry =
    Slot<130, OrtStatus*(OrtSessionOptions*, const char* key, const char* value)>;
using CreateAllocator =
    Slot<131, OrtStatus*(const OrtSession*, const OrtMemoryInfo*, OrtAllocator**)>;
using ReleaseAllocator = Slot<132, void(OrtAllocator*)>;
using RunWithBinding =
    Slot<133, OrtStatus*(OrtSession*, const OrtRunOptions*, const OrtIoBinding*)>;
using CreateIoBinding = Slot<134, OrtStatus*(OrtSession*, OrtIoBinding**)>;
using ReleaseIoBinding = Slot<135, void(OrtIoBinding*)>;
using BindInput = Slot<136, OrtStatus*(OrtIoBinding*, const char* name, const OrtValue*)>;
using BindOutput = Slot<137, OrtStatus*(OrtIoBinding*, const char* name, const OrtValue*)>;
using ClearBoundInputs = Slot<141, void(OrtIoBinding*)>;
using ClearBoundOutputs = Slot<142, void(OrtIoBinding*)>;
using SynchronizeBoundInputs = Slot<202, OrtStatus*(OrtIoBinding*)>;
using SynchronizeBoundOutputs = Slot<203, OrtStatus*(OrtIoBinding*)>;
using AppendCuda = Slot<204, OrtStatus*(OrtSessionOptions*, const OrtCUDAProviderOptionsV2*)>;
using CreateCUDAProviderOptions = Slot<205, OrtStatus*(OrtCUDAProviderOptionsV2**)>;
using UpdateCUDAProviderOptions =
    Slot<206, OrtStatus*(OrtCUDAProviderOptionsV2*, Strings keys, Strings values, std::size_t)>;
using ReleaseCUDAProviderOptions = Slot<208, void(OrtCUDAProviderOptionsV2*)>;
using AppendProvider = Slot<216, OrtStatus*(OrtSessionOptions*, const char* name, Strings keys,
                                            Strings values, std::size_t count)>;

}  // namespace irt::abi
