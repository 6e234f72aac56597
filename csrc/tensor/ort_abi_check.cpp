// Proof at compile time that ort_abi.h says what the official header says. Where no header is found
// nothing is proved, so CI sets IRT_ORT_HEADER_DIR, and then the header must be there.
#include "tensor/ort_abi.h"
#include "tensor/tensor.h"

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

#define IRT_PROVE(name, slot, ...)                                                      \
  static_assert(offsetof(OrtApi, name) == name::kIndex * sizeof(void*), "slot " #name); \
  static_assert(kSame<name::Function, decltype(OrtApi::name)>, "type of " #name);
IRT_ORT_FUNCTIONS(IRT_PROVE)
#undef IRT_PROVE

static_assert(offsetof(OrtApiBase, GetApi) == offsetof(ApiBase, get_api));
static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(ApiBase, get_version_string));
static_assert(sizeof(void*) == sizeof(ApiBase::get_api));
static_assert(ORT_API_VERSION >= kNewestApi, "this header is older than the declaration");

static_assert(kLogFatal == ORT_LOGGING_LEVEL_FATAL);
static_assert(kDeviceAllocator == OrtDeviceAllocator);
static_assert(kArenaAllocator == OrtArenaAllocator && kDefaultMemory == OrtMemTypeDefault);
static_assert(static_cast<int>(ElementType::kFloat32) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(static_cast<int>(ElementType::kUint8) == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(static_cast<int>(ElementType::kInt32) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
static_assert(static_cast<int>(ElementType::kInt64) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
static_assert(static_cast<int>(ElementType::kBool) == ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL);
static_assert(static_cast<int>(ElementType::kFloat16) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);

}  // namespace
}  // namespace irt::abi
#elif defined(IRT_ORT_HEADER_REQUIRED)
#error "IRT_ORT_HEADER_DIR holds no onnxruntime_c_api.h: see .ci/fetch_ort_header.sh"
#endif
