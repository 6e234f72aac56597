// A second device on a machine that has none: memory that the host cannot read, graphs that the CPU
// runs, bindings as ONNX Runtime makes them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "tensor/session.h"

namespace irt::testing {

inline constexpr const char* kFake = "FakeExecutionProvider";

// Its addresses are no addresses of the host: reading one is a fault. New memory is full of NaN.
class FakeDevice final : public Device {
 public:
  struct Counts {
    int in = 0;      // copies from the host, those of bindings included
    int out = 0;     // copies to the host, likewise
    int within = 0;  // on the device
    friend bool operator==(const Counts&, const Counts&) = default;
  };

  // The one of the process.
  static const std::shared_ptr<FakeDevice>& get();

  [[nodiscard]] Counts counts() const noexcept { return {in, out, within}; }
  [[nodiscard]] static std::byte* host_address(std::byte* memory) noexcept;

  const std::string& name() const noexcept override { return name_; }
  std::byte* allocate(std::size_t bytes) override;
  void free(std::byte* memory) noexcept override;
  void copy_in(std::byte* to, const void* from_host, std::size_t bytes) override;
  void copy_out(void* to_host, const std::byte* from, std::size_t bytes) override;
  void copy_within(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void zero(std::byte* to, std::size_t bytes) override;
  void add_scaled(std::byte* to, const std::byte* from, float scale, const std::byte* direction,
                  std::size_t count) override;
  void rescale(std::byte* rows, const std::byte* like, std::size_t count,
               std::size_t columns) override;

  std::atomic<int> in = 0;
  std::atomic<int> out = 0;
  std::atomic<int> within = 0;
  std::atomic<int> blocks = 0;    // allocated and not freed
  std::atomic<int> failures = 0;  // the next so many `zero` throw

 private:
  std::string name_ = "fake:0";
};

// Adds the provider. As ONNX Runtime does, it copies a host input when the input is *bound*; with
// the provider option "consumers" = "host" also one that lies on the device, as where the node that
// reads it runs on the CPU.
void add_fake_provider();
// From now on whoever asks for the CPU's provider gets this one: a whole test program without a
// session on the host.
void guard_every_session();
// Options of a session on it.
[[nodiscard]] SessionOptions fake_session(bool consumers_on_host = false);

}  // namespace irt::testing
