// Graphs as sessions of a provider, and their runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace irt {

struct SessionOptions {
  int intra_op_threads = 1;
  // Execution providers in order of preference, e.g. {"CUDAExecutionProvider",
  // "CPUExecutionProvider"}; the CPU is always there, as the last one. One that the loaded library
  // lacks is an error: choose among available_providers().
  std::vector<std::string> providers = {"CPUExecutionProvider"};
};

struct TensorInfo {
  std::string name;
  ElementType type = ElementType::kFloat32;
  Shape shape;  // -1 where the dimension is symbolic
};

// What a provider implements: bindings of one graph's names to tensors, and their run. A host
// tensor may be read when it is bound or when the graph runs, as the provider likes.
class Binding {
 public:
  Binding() = default;
  virtual ~Binding() = default;
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;
  virtual void bind_input(const std::string& name, const Tensor& tensor) = 0;
  virtual void bind_output(const std::string& name, const Tensor& tensor) = 0;
  virtual void clear() noexcept = 0;
  // Outputs are complete when it returns. Throws Error(kBackendFailed); Error(kCancelled) after
  // `terminate`, which may come from another thread and touches the run in progress only.
  virtual void run() = 0;
  virtual void terminate() noexcept = 0;
};

class Graph {
 public:
  Graph() = default;
  virtual ~Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  [[nodiscard]] virtual const std::vector<TensorInfo>& inputs() const noexcept = 0;
  [[nodiscard]] virtual const std::vector<TensorInfo>& outputs() const noexcept = 0;
  // Where tensors that stay from run to run should live.
  [[nodiscard]] virtual const DeviceRef& device() const noexcept = 0;
  // Whether a run reads and writes bound tensors where they are, so that binding them once does.
  [[nodiscard]] virtual bool in_place() const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<Binding> bind() = 0;
};

// Opens graphs for sessions whose first provider has this name, instead of ONNX Runtime.
// Thread-safe; an empty function takes the provider away.
using OpenGraph =
    std::function<std::unique_ptr<Graph>(const std::string& path, const SessionOptions& options)>;
void add_provider(const std::string& name, OpenGraph open);
[[nodiscard]] std::unique_ptr<Graph> open_graph(const std::string& path,
                                                const SessionOptions& options);

// A dimension that a contract leaves open.
inline constexpr std::int64_t kAny = -1;

// A loaded graph. Any number of runs may use it at once.
class Session {
 public:
  Session(const std::string& path, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::vector<TensorInfo>& inputs() const noexcept { return graph_->inputs(); }
  [[nodiscard]] const std::vector<TensorInfo>& outputs() const noexcept {
    return graph_->outputs();
  }
  [[nodiscard]] const DeviceRef& device() const noexcept { return graph_->device(); }
  // Null where there is none of that name.
  [[nodiscard]] const TensorInfo* input(const std::string& name) const noexcept;
  [[nodiscard]] const TensorInfo* output(const std::string& name) const noexcept;
  // Throw Error(kBadPack), naming the file, unless the graph has an input (output) of this name and
  // type whose static dimensions agree with `shape`.
  void require_input(const std::string& name, ElementType type, const Shape& shape) const;
  void require_output(const std::string& name, ElementType type, const Shape& shape) const;

 private:
  friend class Run;
  std::string path_;
  std::unique_ptr<Graph> graph_;
};

// One prepared call: names bound to tensors, reusable while shapes stay the same.
//
// On the host the graph reads and writes the tensors' own memory, so that they are bound once and
// may be changed between runs. Elsewhere a provider may copy an input to where it is used *when it
// is bound*, so that every run binds everything again. Not thread-safe, except `terminate`.
class Run {
 public:
  explicit Run(const Session& session);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void bind_input(const std::string& name, const Tensor& tensor);
  void bind_output(const std::string& name, const Tensor& tensor);
  void clear_bindings() noexcept;
  // Throws Error(kBackendFailed) with the provider's message and the graph's path.
  void run();
  // Asks a run in progress to stop between two nodes; that run throws Error(kCancelled), unless it
  // was past its last node already. Later runs are not affected.
  void terminate() noexcept { binding_->terminate(); }

 private:
  using Bound = std::vector<std::pair<std::string, Tensor>>;

  const Session& session_;
  std::unique_ptr<Binding> binding_;
  bool rebind_;
  Bound inputs_;  // to be bound again
  Bound outputs_;
};

// The shortest wall time of `runs` runs, in seconds, after one that is not counted. `shapes`: of
// inputs and outputs by name, where dimensions that the graph leaves open are not 1; inputs are
// zeros. On the host.
[[nodiscard]] double time_graph(const Session& session, const std::map<std::string, Shape>& shapes,
                                int runs);

// Lets another thread end work that is made of several runs: it reaches the run in progress and
// stays set until the work ends.
class StopSwitch {
 public:
  // Work under way, for as long as this lives.
  class Work {
   public:
    explicit Work(StopSwitch& stop) noexcept;
    ~Work();
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

   private:
    StopSwitch& stop_;
  };

  // Runs it; throws Error(kCancelled) where the work was stopped.
  void run(Run& run);
  void stop() noexcept;

 private:
  void watch(Run* run);

  std::mutex mutex_;
  bool at_work_ = false;
  bool stopped_ = false;
  Run* current_ = nullptr;
};

}  // namespace irt
