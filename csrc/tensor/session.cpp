#include "tensor/session.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>

#include "core/error.h"
#include "tensor/runtime.h"

namespace irt {
namespace {

std::mutex g_providers_mutex;
std::map<std::string, OpenGraph>& providers() {
  static std::map<std::string, OpenGraph> added;
  return added;
}

[[nodiscard]] const TensorInfo* find(const std::vector<TensorInfo>& tensors,
                                     const std::string& name) noexcept {
  const auto found = std::ranges::find(tensors, name, &TensorInfo::name);
  return found == tensors.end() ? nullptr : &*found;
}

std::string describe(ElementType type, const Shape& shape) {
  std::string text = name_of(type);
  text += " [";
  for (const std::int64_t dimension : shape) {
    if (text.back() != '[') text += ", ";
    text += dimension < 0 ? "?" : std::to_string(dimension);
  }
  return text + "]";
}

void require(const TensorInfo* found, const std::string& where, ElementType type,
             const Shape& shape) {
  if (found == nullptr) {
    throw Error(ErrorCode::kBadPack, where + "is missing: export the pack again");
  }
  bool agrees = found->type == type && found->shape.size() == shape.size();
  for (std::size_t i = 0; agrees && i < shape.size(); ++i) {
    agrees = shape[i] < 0 || found->shape[i] < 0 || shape[i] == found->shape[i];
  }
  if (!agrees) {
    throw Error(ErrorCode::kBadPack, where + "is " + describe(found->type, found->shape) +
                                         ", pack.json implies " + describe(type, shape) +
                                         ": export the pack again");
  }
}

}  // namespace

void add_provider(const std::string& name, OpenGraph open) {
  const std::lock_guard lock(g_providers_mutex);
  if (open) {
    providers()[name] = std::move(open);
  } else {
    providers().erase(name);
  }
}

std::unique_ptr<Graph> open_graph(const std::string& path, const SessionOptions& options) {
  OpenGraph open = open_ort_graph;
  if (!options.providers.empty()) {
    const std::lock_guard lock(g_providers_mutex);
    const auto found = providers().find(options.providers.front());
    if (found != providers().end()) open = found->second;
  }
  return open(path, options);
}

// ---- Session ------------------------------------------------------------------------------

Session::Session(const std::string& path, const SessionOptions& options)
    : path_(path), graph_(open_graph(path, options)) {
  ++live_objects().sessions;
}

Session::~Session() { --live_objects().sessions; }

const TensorInfo* Session::input(const std::string& name) const noexcept {
  return find(inputs(), name);
}

const TensorInfo* Session::output(const std::string& name) const noexcept {
  return find(outputs(), name);
}

void Session::require_input(const std::string& name, ElementType type, const Shape& shape) const {
  require(input(name), "[Session] " + path_ + ": input `" + name + "` ", type, shape);
}

void Session::require_output(const std::string& name, ElementType type, const Shape& shape) const {
  require(output(name), "[Session] " + path_ + ": output `" + name + "` ", type, shape);
}

// ---- Run ----------------------------------------------------------------------------------

namespace {

// Keeps the tensor, in place of what had the name before.
void keep(std::vector<std::pair<std::string, Tensor>>& bound, const std::string& name,
          const Tensor& tensor) {
  const auto found = std::ranges::find(bound, name, &std::pair<std::string, Tensor>::first);
  if (found != bound.end()) {
    found->second = tensor;
  } else {
    bound.emplace_back(name, tensor);
  }
}

void check(bool known, const Tensor& tensor, const char* what, const std::string& name,
           const std::string& path) {
  const std::string where = "[Run] " + path + ": ";
  if (!known) {
    throw Error(ErrorCode::kBadPack,
                where + "the graph has no " + what + " `" + name + "`: export the pack again");
  }
  if (!tensor) throw Error(ErrorCode::kInternal, where + "empty tensor for " + what + " " + name);
}

}  // namespace

Run::Run(const Session& session)
    : session_(session), binding_(session.graph_->bind()), rebind_(!session.graph_->in_place()) {
  ++live_objects().runs;
}

Run::~Run() { --live_objects().runs; }

void Run::bind_input(const std::string& name, const Tensor& tensor) {
  check(session_.input(name) != nullptr, tensor, "input", name, session_.path());
  if (!rebind_) binding_->bind_input(name, tensor);
  keep(inputs_, name, tensor);
}

void Run::bind_output(const std::string& name, const Tensor& tensor) {
  check(session_.output(name) != nullptr, tensor, "output", name, session_.path());
  if (!rebind_) binding_->bind_output(name, tensor);
  keep(outputs_, name, tensor);
}

void Run::clear_bindings() noexcept {
  binding_->clear();
  inputs_.clear();
  outputs_.clear();
}

void Run::run() {
  if (rebind_) {
    for (const auto& [name, tensor] : inputs_) binding_->bind_input(name, tensor);
    for (const auto& [name, tensor] : outputs_) binding_->bind_output(name, tensor);
  }
  binding_->run();
}

double time_graph(const Session& session, const std::map<std::string, Shape>& shapes, int runs) {
  Run run(session);
  const auto tensor_of = [&](const TensorInfo& info) {
    const auto given = shapes.find(info.name);
    Shape shape = given == shapes.end() ? info.shape : given->second;
    std::ranges::replace_if(shape, [](std::int64_t size) { return size < 0; }, 1);
    Tensor made(info.type, std::move(shape));
    made.zero();
    return made;
  };
  for (const TensorInfo& info : session.inputs()) run.bind_input(info.name, tensor_of(info));
  for (const TensorInfo& info : session.outputs()) run.bind_output(info.name, tensor_of(info));
  run.run();
  double shortest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run.run();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    shortest = std::min(shortest, time.count());
  }
  return shortest;
}

// ---- StopSwitch ---------------------------------------------------------------------------

StopSwitch::Work::Work(StopSwitch& stop) noexcept : stop_(stop) {
  const std::lock_guard lock(stop_.mutex_);
  stop_.at_work_ = true;
  stop_.stopped_ = false;
}

StopSwitch::Work::~Work() {
  const std::lock_guard lock(stop_.mutex_);
  stop_.at_work_ = false;
  stop_.current_ = nullptr;
}

void StopSwitch::watch(Run* run) {
  const std::lock_guard lock(mutex_);
  current_ = run;
  if (stopped_) throw Error(ErrorCode::kCancelled, "[StopSwitch] terminated");
}

void StopSwitch::run(Run& run) {
  watch(&run);
  run.run();
  watch(nullptr);
}

void StopSwitch::stop() noexcept {
  const std::lock_guard lock(mutex_);
  if (!at_work_) return;
  stopped_ = true;
  if (current_ != nullptr) current_->terminate();
}

}  // namespace irt
