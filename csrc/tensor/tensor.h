// Tensors that know where they live: element type, shape, memory space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

struct OrtMemoryInfo;  // of ONNX Runtime

namespace irt {

// Numbered as ONNX does.
enum class ElementType : std::int32_t {
  kFloat32 = 1,
  kUint8 = 2,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9,
  kFloat16 = 10
};
[[nodiscard]] const char* name_of(ElementType type) noexcept;
[[nodiscard]] std::size_t size_of(ElementType type) noexcept;  // bytes; 0: unknown

template <typename T>
inline constexpr ElementType kElementOf = ElementType::kFloat32;
template <>
inline constexpr ElementType kElementOf<std::int64_t> = ElementType::kInt64;
template <>
inline constexpr ElementType kElementOf<std::int32_t> = ElementType::kInt32;

// A memory space. Addresses in it are of use to its own functions only, unless the host may read
// them. Copies are complete when they return. Used by one thread at a time per block of memory.
class Device {
 public:
  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] virtual const std::string& name() const noexcept = 0;  // "cpu", "cuda:0"
  // Whether its addresses may be read and written like any other memory.
  [[nodiscard]] virtual bool is_host() const noexcept { return false; }
  // How ONNX Runtime calls this memory; null: it does not know it.
  [[nodiscard]] virtual const OrtMemoryInfo* memory_info() const noexcept { return nullptr; }

  // All but `free` throw Error(kBackendFailed) when the device refuses. Blocks are aligned to 64
  // bytes and not initialised.
  [[nodiscard]] virtual std::byte* allocate(std::size_t bytes) = 0;
  virtual void free(std::byte* memory) noexcept = 0;
  virtual void copy_in(std::byte* to, const void* from_host, std::size_t bytes) = 0;
  virtual void copy_out(void* to_host, const std::byte* from, std::size_t bytes) = 0;
  virtual void copy_within(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
  virtual void zero(std::byte* to, std::size_t bytes) = 0;
  // to[i] = from[i] + scale * direction[i] for floats, rounded twice; `to` may be either.
  virtual void add_scaled(std::byte* to, const std::byte* from, float scale,
                          const std::byte* direction, std::size_t count) = 0;
  // Every row of `columns` floats in `rows` as long as that row of `like`: times the root of the
  // quotient of their sums of squares, which are made in double and rounded once.
  virtual void rescale(std::byte* rows, const std::byte* like, std::size_t count,
                       std::size_t columns) = 0;
};
using DeviceRef = std::shared_ptr<Device>;

// The host's own memory.
[[nodiscard]] const DeviceRef& host();

using Shape = std::vector<std::int64_t>;
[[nodiscard]] std::size_t count_of(std::span<const std::int64_t> shape) noexcept;  // elements

// Contiguous, row-major. A handle: copies of it and views share the memory, which lives as long as
// one of them. Const says nothing of the elements.
class Tensor {
 public:
  Tensor() = default;  // empty: no memory, no device
  // New memory, not initialised.
  Tensor(ElementType type, Shape shape, const DeviceRef& device = host());
  // Host memory that somebody else owns and keeps, of at least as many elements as the shape says.
  Tensor(ElementType type, Shape shape, void* memory, std::size_t elements);
  template <typename T, std::size_t kExtent>  // T: float, std::int64_t or std::int32_t
  static Tensor over(std::span<T, kExtent> memory, Shape shape) {
    return {kElementOf<T>, std::move(shape), memory.data(), memory.size()};
  }
  // New host memory with these values.
  template <typename T>
  static Tensor of(const std::vector<T>& values, Shape shape) {
    Tensor tensor(kElementOf<T>, std::move(shape));
    tensor.read_from(values.data(), values.size() * sizeof(T));
    return tensor;
  }

  [[nodiscard]] explicit operator bool() const noexcept { return device_ != nullptr; }
  [[nodiscard]] ElementType type() const noexcept { return type_; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] const DeviceRef& device() const noexcept { return device_; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }  // elements
  [[nodiscard]] std::size_t bytes() const noexcept { return count_ * size_of(type_); }
  [[nodiscard]] std::byte* data() const noexcept { return data_.get(); }
  // The elements. Throws Error(kInternal) for another type, or where the host may not read.
  template <typename T>
  [[nodiscard]] std::span<T> as() const {
    return {reinterpret_cast<T*>(host_data(kElementOf<T>)), size()};
  }

  // The elements from number `first` on as a tensor of this shape.
  // Throws Error(kInternal) where they do not lie inside.
  [[nodiscard]] Tensor view(std::size_t first, Shape shape) const;
  // `count` rows of the leading axis.
  [[nodiscard]] Tensor rows(std::int64_t first, std::int64_t count) const;
  void zero() const;
  // Of the same number of bytes, on any device; a copy between two devices goes through the host.
  void copy_from(const Tensor& other) const;
  // This one = from + scale * direction, of floats of one size on one device.
  void add_scaled(const Tensor& from, float scale, const Tensor& direction) const;
  // Rows of the last axis, each scaled to the length of that row of `like`: floats of one shape on
  // one device. A row of zeros has no length to scale: it becomes NaN.
  void rescale(const Tensor& like) const;
  // From host memory. Throws Error(kInternal) unless `bytes` is the size of this tensor.
  void read_from(const void* memory, std::size_t bytes) const;
  // This tensor, or a copy of it where it lives elsewhere.
  [[nodiscard]] Tensor on(const DeviceRef& device) const;

 private:
  [[nodiscard]] std::byte* host_data(ElementType type) const;

  ElementType type_ = ElementType::kFloat32;
  Shape shape_;
  std::size_t count_ = 0;
  DeviceRef device_;
  std::shared_ptr<std::byte> data_;
};

}  // namespace irt
