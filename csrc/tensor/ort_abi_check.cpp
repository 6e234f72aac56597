// Proof at compile time that ort_abi.h says what the official header says. Where no header is found
// nothing is proved, so CI sets IRT_ORT_HEADER_DIR, and then the header must be there.
#include "tensor/ort_abi.h"

#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>

#include <type_traits>
#include <utility>

// warn_unused_result of the official slots is no part of their types.
#pragma GCC diagnostic ignored "-Wignored-attributes"

namespace irt::abi {
namespace {

// What the calling convention sees: an enum is an integer, noexcept is nothing.
template <typename T, bool kIsEnum = std::is_enum_v<T>>
struct Plain {
  using Type = T;
};
template <typename T>
struct Plain<T, true> {
  static_assert(sizeof(T) == sizeof(Enum));
  using Type = Enum;
};
template <typename T>
struct Plain<T*, false> {
  using Type = typename Plain<T>::Type*;
};
template <typename R, typename... Args>
struct Plain<R (*)(Args...), false> {
  using Type = typename Plain<R>::Type (*)(typename Plain<Args>::Type...);
};
template <typename R, typename... Args>
struct Plain<R (*)(Args...) noexcept, false> : Plain<R (*)(Args...), false> {};

template <typename Ours, typename Official>
inline constexpr bool kSame = std::is_same_v<Ours, typename Plain<Official>::Type>;

#define IRT_PROVE_AS(ours, official)                                                            \
  static_assert(offsetof(OrtApi, official) == ours::kIndex * sizeof(void*), "slot " #official); \
  static_assert(kSame<ours::Function, decltype(OrtApi::official)>, "type of " #official)
#define IRT_PROVE(name) IRT_PROVE_AS(name, name)

IRT_PROVE(GetErrorMessage);
IRT_PROVE(CreateEnv);
IRT_PROVE(DisableTelemetryEvents);
IRT_PROVE(CreateSession);
IRT_PROVE(CreateSessionFromArray);
IRT_PROVE(CreateSessionOptions);
IRT_PROVE(SetIntraOpNumThreads);
IRT_PROVE(SetInterOpNumThreads);
IRT_PROVE(SessionGetInputCount);
IRT_PROVE(SessionGetOutputCount);
IRT_PROVE(SessionGetInputTypeInfo);
IRT_PROVE(SessionGetOutputTypeInfo);
IRT_PROVE(SessionGetInputName);
IRT_PROVE(SessionGetOutputName);
IRT_PROVE(CreateRunOptions);
IRT_PROVE(RunOptionsSetTerminate);
IRT_PROVE(CreateTensorWithDataAsOrtValue);
IRT_PROVE(CastTypeInfoToTensorInfo);
IRT_PROVE(GetTensorElementType);
IRT_PROVE(GetDimensionsCount);
IRT_PROVE(GetDimensions);
IRT_PROVE(CreateMemoryInfo);
IRT_PROVE(CreateCpuMemoryInfo);
IRT_PROVE(AllocatorAlloc);
IRT_PROVE(AllocatorFree);
IRT_PROVE(GetAllocatorWithDefaultOptions);
IRT_PROVE(ReleaseStatus);
IRT_PROVE(ReleaseMemoryInfo);
IRT_PROVE(ReleaseSession);
IRT_PROVE(ReleaseValue);
IRT_PROVE(ReleaseRunOptions);
IRT_PROVE(ReleaseTypeInfo);
IRT_PROVE(ReleaseSessionOptions);
IRT_PROVE(GetAvailableProviders);
IRT_PROVE(ReleaseAvailableProviders);
IRT_PROVE(AddSessionConfigEntry);
IRT_PROVE(CreateAllocator);
IRT_PROVE(ReleaseAllocator);
IRT_PROVE(RunWithBinding);
IRT_PROVE(CreateIoBinding);
IRT_PROVE(ReleaseIoBinding);
IRT_PROVE(BindInput);
IRT_PROVE(BindOutput);
IRT_PROVE(ClearBoundInputs);
IRT_PROVE(ClearBoundOutputs);
IRT_PROVE(SynchronizeBoundInputs);
IRT_PROVE(SynchronizeBoundOutputs);
IRT_PROVE_AS(AppendCuda, SessionOptionsAppendExecutionProvider_CUDA_V2);
IRT_PROVE(CreateCUDAProviderOptions);
IRT_PROVE(UpdateCUDAProviderOptions);
IRT_PROVE(ReleaseCUDAProviderOptions);
IRT_PROVE_AS(AppendProvider, SessionOptionsAppendExecutionProvider);

#undef IRT_PROVE
#undef IRT_PROVE_AS

static_assert(offsetof(OrtApiBase, GetApi) == offsetof(ApiBase, get_api));
static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(ApiBase, get_version_string));
static_assert(sizeof(void*) == sizeof(ApiBase::get_api));
static_assert(ORT_API_VERSION >= kNewestApi, "this header is older than the declaration");

static_assert(kLogError == ORT_LOGGING_LEVEL_ERROR);
static_assert(kDeviceAllocator == OrtDeviceAllocator);
static_assert(kArenaAllocator == OrtArenaAllocator && kDefaultMemory == OrtMemTypeDefault);
static_assert(kFloat == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(kUint8 == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(kInt32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
static_assert(kInt64 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
static_assert(kBool == ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL);
static_assert(kFloat16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);

}  // namespace
}  // namespace irt::abi
#elif defined(IRT_ORT_HEADER_REQUIRED)
#error "IRT_ORT_HEADER_DIR holds no onnxruntime_c_api.h: see .ci/fetch_ort_header.sh"
#endif
