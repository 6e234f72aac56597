// ONNX Runtime by address: the library is loaded by Python (or by a test program), never linked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace irt {

struct SessionOptions {
  int intra_op_threads = 1;
  int inter_op_threads = 1;
  bool spinning = false;  // a spinning pool starves the other lanes of a small machine
  // Execution providers in order of preference, e.g. {"CUDAExecutionProvider",
  // "CPUExecutionProvider"}; the CPU is always there, as the last one. One that the loaded library
  // lacks is an error: choose among available_providers().
  std::vector<std::string> providers = {"CPUExecutionProvider"};
  // Passed to ONNX Runtime as session configuration entries.
  std::vector<std::pair<std::string, std::string>> config;
};

enum class ElementType { kFloat32, kInt64, kInt32, kBool, kFloat16, kUint8 };

// The process-wide runtime. `api_base` is the address of OrtGetApiBase in the loaded library.
// The first call wins; a later call with another address throws Error(kBackendFailed).
// Thread-safe.
void load_runtime(std::uintptr_t api_base);
[[nodiscard]] bool runtime_loaded() noexcept;
[[nodiscard]] std::string runtime_version();
[[nodiscard]] std::vector<std::string> available_providers();

// Objects of this library that are alive in the process: what leak checks compare.
struct LiveObjects {
  int sessions = 0;
  int values = 0;
  int runs = 0;
};
[[nodiscard]] LiveObjects live_objects() noexcept;

// A view of memory that the caller owns, bound as an input or an output. Contiguous, row-major.
// Once bound, a binding needs the memory, not the Value.
class Value {
 public:
  Value() noexcept;
  ~Value();
  Value(Value&&) noexcept;
  Value& operator=(Value&&) noexcept;
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;

  static Value wrap(ElementType type, void* data, std::size_t bytes,
                    std::span<const std::int64_t> shape);
  static Value wrap(std::span<float> data, std::span<const std::int64_t> shape);
  static Value wrap(std::span<std::int64_t> data, std::span<const std::int64_t> shape);

 private:
  friend class Run;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TensorInfo {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;  // -1 where the dimension is symbolic
};

// A loaded graph. `run` may be called by several threads at once.
class Session {
 public:
  Session(const std::string& path, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const std::vector<TensorInfo>& inputs() const noexcept;
  [[nodiscard]] const std::vector<TensorInfo>& outputs() const noexcept;
  // Throws Error(kBadPack) naming the file unless the graph has an input (output) of that name.
  void require_input(const std::string& name) const;
  void require_output(const std::string& name) const;

 private:
  friend class Run;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One prepared call: names bound to values, reusable while shapes stay the same.
// Not thread-safe, except `terminate`.
class Run {
 public:
  explicit Run(const Session& session);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void bind_input(const std::string& name, const Value& value);
  void bind_output(const std::string& name, const Value& value);
  void clear_bindings();
  // Throws Error(kBackendFailed) with ONNX Runtime's message and the graph's path.
  void run();
  // Asks a run in progress to stop between two nodes; that run throws Error(kCancelled), unless it
  // was past its last node already. Later runs are not affected.
  void terminate() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace irt
