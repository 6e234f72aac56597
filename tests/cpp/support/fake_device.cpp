#include "support/fake_device.h"

#include <cstring>
#include <utility>
#include <vector>

#include "core/error.h"

namespace irt::testing {
namespace {

constexpr const char* kFakeBesideHost = "FakeHostExecutionProvider";
constexpr std::uintptr_t kElsewhere = std::uintptr_t{1} << 62U;  // no canonical address

[[nodiscard]] const std::byte* real(const std::byte* memory) noexcept {
  return FakeDevice::host_address(const_cast<std::byte*>(memory));
}

class FakeBinding final : public Binding {
 public:
  FakeBinding(const Session& session, bool consumers_on_host)
      : run_(session), consumers_on_host_(consumers_on_host) {}

  void bind_input(const std::string& name, const Tensor& tensor) override {
    if (!tensor.device()->is_host() && !consumers_on_host_) {
      run_.bind_input(name, translated(tensor));
      return;
    }
    Tensor copy(tensor.type(), tensor.shape());
    copy.copy_from(tensor);
    if (tensor.device()->is_host()) ++FakeDevice::get()->in;
    run_.bind_input(name, copy);
  }
  void bind_output(const std::string& name, const Tensor& tensor) override {
    if (!tensor.device()->is_host()) {
      run_.bind_output(name, translated(tensor));
      return;
    }
    Tensor buffer(tensor.type(), tensor.shape());
    run_.bind_output(name, buffer);
    std::erase_if(outputs_, [&](const Output& known) { return known.name == name; });
    outputs_.push_back({name, buffer, tensor});
  }
  void clear() noexcept override {
    run_.clear_bindings();
    outputs_.clear();
  }
  void run() override {
    run_.run();
    for (const Output& output : outputs_) {
      output.target.copy_from(output.buffer);
      ++FakeDevice::get()->out;
    }
  }
  void terminate() noexcept override { run_.terminate(); }

 private:
  struct Output {
    std::string name;
    Tensor buffer;
    Tensor target;
  };

  [[nodiscard]] static Tensor translated(const Tensor& tensor) {
    return {tensor.type(), tensor.shape(), FakeDevice::host_address(tensor.data()), tensor.size()};
  }

  Run run_;
  bool consumers_on_host_;
  std::vector<Output> outputs_;
};

class FakeGraph final : public Graph {
 public:
  FakeGraph(const std::string& path, const SessionOptions& options)
      : session_(path, on_cpu(options)),
        device_(FakeDevice::get()),
        consumers_on_host_(options.providers.front() == kFakeBesideHost) {}
  const std::vector<TensorInfo>& inputs() const noexcept override { return session_.inputs(); }
  const std::vector<TensorInfo>& outputs() const noexcept override { return session_.outputs(); }
  const DeviceRef& device() const noexcept override { return device_; }
  bool in_place() const noexcept override { return false; }
  std::unique_ptr<Binding> bind() override {
    return std::make_unique<FakeBinding>(session_, consumers_on_host_);
  }

 private:
  static SessionOptions on_cpu(SessionOptions options) {
    options.providers.clear();  // the CPU's, whoever goes by that name
    return options;
  }

  Session session_;
  DeviceRef device_;
  bool consumers_on_host_;
};

}  // namespace

const std::shared_ptr<FakeDevice>& FakeDevice::get() {
  static const std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>();
  return device;
}

std::byte* FakeDevice::host_address(std::byte* memory) noexcept {
  return reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(memory) - kElsewhere);
}

std::byte* FakeDevice::allocate(std::size_t bytes) {
  std::byte* memory = host()->allocate(bytes);
  std::memset(memory, 0xff, bytes);
  ++blocks;
  return reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(memory) + kElsewhere);
}

void FakeDevice::free(std::byte* memory) noexcept {
  host()->free(host_address(memory));
  --blocks;
}

void FakeDevice::copy_in(std::byte* to, const void* from_host, std::size_t bytes) {
  std::memcpy(host_address(to), from_host, bytes);
  ++in;
}

void FakeDevice::copy_out(void* to_host, const std::byte* from, std::size_t bytes) {
  std::memcpy(to_host, real(from), bytes);
  ++out;
}

void FakeDevice::copy_within(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(host_address(to), real(from), bytes);
  ++within;
}

void FakeDevice::zero(std::byte* to, std::size_t bytes) {
  if (failures > 0) {
    --failures;
    throw Error(ErrorCode::kBackendFailed, "[FakeDevice] cannot zero");
  }
  std::memset(host_address(to), 0, bytes);
}

void FakeDevice::add_scaled(std::byte* to, const std::byte* from, float scale,
                            const std::byte* direction, std::size_t count) {
  host()->add_scaled(host_address(to), real(from), scale, real(direction), count);
}

void FakeDevice::rescale(std::byte* rows, const std::byte* like, std::size_t count,
                         std::size_t columns) {
  host()->rescale(host_address(rows), real(like), count, columns);
}

namespace {

void add_as(const char* name) {
  add_provider(name, [](const std::string& path, const SessionOptions& options) {
    return std::make_unique<FakeGraph>(path, options);
  });
}

}  // namespace

void add_fake_provider() {
  add_as(kFake);
  add_as(kFakeBesideHost);
}

void guard_every_session() { add_as("CPUExecutionProvider"); }

SessionOptions fake_session(bool consumers_on_host) {
  add_fake_provider();
  SessionOptions options;
  options.providers = {consumers_on_host ? kFakeBesideHost : kFake};
  return options;
}

}  // namespace irt::testing
