#include "tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "core/error.h"

namespace irt {
namespace {

constexpr std::size_t kAlignment = 64;

class Host final : public Device {
 public:
  const std::string& name() const noexcept override { return name_; }
  bool is_host() const noexcept override { return true; }
  std::byte* allocate(std::size_t bytes) override {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
  }
  void free(std::byte* memory) noexcept override { std::free(memory); }
  void copy_in(std::byte* to, const void* from_host, std::size_t bytes) override {
    std::memcpy(to, from_host, bytes);
  }
  void copy_out(void* to_host, const std::byte* from, std::size_t bytes) override {
    std::memcpy(to_host, from, bytes);
  }
  void copy_within(std::byte* to, const std::byte* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void zero(std::byte* to, std::size_t bytes) override { std::memset(to, 0, bytes); }
  void add_scaled(std::byte* to, const std::byte* from, float scale, const std::byte* direction,
                  std::size_t count) override {
    auto* moved = reinterpret_cast<float*>(to);
    const auto* start = reinterpret_cast<const float*>(from);
    const auto* along = reinterpret_cast<const float*>(direction);
    for (std::size_t i = 0; i < count; ++i) {
      const float move = scale * along[i];
      moved[i] = start[i] + move;
    }
  }
  void rescale(std::byte* rows, const std::byte* like, std::size_t count,
               std::size_t columns) override {
    const auto squares = [columns](const float* row) {
      double sum = 0.0;
      for (std::size_t i = 0; i < columns; ++i) sum += static_cast<double>(row[i]) * row[i];
      return sum;
    };
    auto* row = reinterpret_cast<float*>(rows);
    const auto* wanted = reinterpret_cast<const float*>(like);
    for (std::size_t i = 0; i < count; ++i, row += columns, wanted += columns) {
      const auto scale = static_cast<float>(std::sqrt(squares(wanted) / squares(row)));
      for (std::size_t j = 0; j < columns; ++j) row[j] *= scale;
    }
  }

 private:
  std::string name_ = "cpu";
};

[[nodiscard]] Error misused(const std::string& text) {
  return Error(ErrorCode::kInternal, "[Tensor] " + text);
}

}  // namespace

const DeviceRef& host() {
  static const DeviceRef device = std::make_shared<Host>();
  return device;
}

namespace {

constexpr struct TypeRow {
  ElementType type;
  const char* name;
  std::size_t bytes;
} kTypes[] = {{ElementType::kFloat32, "float32", 4}, {ElementType::kInt64, "int64", 8},
              {ElementType::kInt32, "int32", 4},     {ElementType::kBool, "bool", 1},
              {ElementType::kFloat16, "float16", 2}, {ElementType::kUint8, "uint8", 1}};

[[nodiscard]] TypeRow row_of(ElementType type) noexcept {
  const auto* found = std::ranges::find(kTypes, type, &TypeRow::type);
  return found == std::end(kTypes) ? TypeRow{type, "unknown", 0} : *found;
}

}  // namespace

const char* name_of(ElementType type) noexcept { return row_of(type).name; }
std::size_t size_of(ElementType type) noexcept { return row_of(type).bytes; }

std::size_t count_of(std::span<const std::int64_t> shape) noexcept {
  std::size_t count = 1;
  for (const std::int64_t side : shape) count *= static_cast<std::size_t>(side);
  return count;
}

Tensor::Tensor(ElementType type, Shape shape, const DeviceRef& device)
    : type_(type), shape_(std::move(shape)), count_(count_of(shape_)), device_(device) {
  data_ = std::shared_ptr<std::byte>(device->allocate(bytes()),
                                     [device](std::byte* memory) { device->free(memory); });
}

Tensor::Tensor(ElementType type, Shape shape, void* memory, std::size_t elements)
    : type_(type),
      shape_(std::move(shape)),
      count_(count_of(shape_)),
      device_(host()),
      data_(std::shared_ptr<void>(), static_cast<std::byte*>(memory)) {
  if (count_ > elements) throw misused("the memory is smaller than the shape");
}

std::byte* Tensor::host_data(ElementType type) const {
  if (*this && (type_ != type || !device_->is_host())) {
    throw misused(std::string("a ") + name_of(type_) + " tensor on " + device_->name() +
                  " is read as " + name_of(type) + " by the host");
  }
  return data();
}

Tensor Tensor::view(std::size_t first, Shape shape) const {
  Tensor part = *this;
  part.shape_ = std::move(shape);
  part.count_ = count_of(part.shape_);
  if (!*this || first + part.count_ > count_) throw misused("a view lies outside of its tensor");
  part.data_ = {data_, data_.get() + first * size_of(type_)};
  return part;
}

Tensor Tensor::rows(std::int64_t first, std::int64_t count) const {
  if (shape_.empty()) throw misused("a scalar has no rows");
  Shape shape = shape_;
  shape.front() = 1;
  const std::size_t row = count_of(shape);
  shape.front() = count;
  return view(static_cast<std::size_t>(first) * row, std::move(shape));
}

void Tensor::zero() const {
  if (count_ > 0) device_->zero(data(), bytes());
}

void Tensor::copy_from(const Tensor& other) const {
  if (bytes() != other.bytes()) throw misused("a copy between tensors of different size");
  if (bytes() == 0) return;
  if (device_ == other.device_) {
    device_->copy_within(data(), other.data(), bytes());
  } else if (other.device_->is_host()) {
    device_->copy_in(data(), other.data(), bytes());
  } else if (device_->is_host()) {
    other.device_->copy_out(data(), other.data(), bytes());
  } else {
    copy_from(other.on(host()));
  }
}

void Tensor::add_scaled(const Tensor& from, float scale, const Tensor& direction) const {
  for (const Tensor* other : {&from, &direction}) {
    if (type_ != ElementType::kFloat32 || other->type_ != type_ || other->count_ != count_ ||
        other->device_ != device_) {
      throw misused("sums are of floats of one size on one device");
    }
  }
  device_->add_scaled(data(), from.data(), scale, direction.data(), count_);
}

void Tensor::rescale(const Tensor& like) const {
  if (type_ != ElementType::kFloat32 || like.type_ != type_ || shape_.empty() ||
      like.shape_ != shape_ || device_ == nullptr || like.device_ != device_) {
    throw misused("rows are rescaled to rows of another shape, type or device");
  }
  if (count_ == 0) return;
  const auto columns = static_cast<std::size_t>(shape_.back());
  device_->rescale(data(), like.data(), count_ / columns, columns);
}

void Tensor::read_from(const void* memory, std::size_t bytes) const {
  if (bytes != this->bytes()) throw misused("values and shape disagree");
  if (bytes > 0) device_->copy_in(data(), memory, bytes);
}

Tensor Tensor::on(const DeviceRef& device) const {
  if (!*this || device_ == device) return *this;
  Tensor copy(type_, shape_, device);
  copy.copy_from(*this);
  return copy;
}

}  // namespace irt
