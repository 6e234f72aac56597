#include <algorithm>
#include <mutex>

#include "tensor/ort.h"
#include "tensor/ort_runtime.h"

namespace irt {

// ---- Session ------------------------------------------------------------------------------

struct Session::Impl {
  std::string path;
  OrtSession* session = nullptr;
  std::vector<TensorInfo> inputs;
  std::vector<TensorInfo> outputs;

  Impl() noexcept { ++live_counters().sessions; }
  ~Impl() {
    release<abi::ReleaseSession>(session);
    --live_counters().sessions;
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

namespace {

[[nodiscard]] ElementType from_onnx(abi::Enum type, const std::string& where) {
  for (const ElementType candidate :
       {ElementType::kFloat32, ElementType::kInt64, ElementType::kInt32, ElementType::kBool,
        ElementType::kFloat16, ElementType::kUint8}) {
    if (to_onnx(candidate) == type) return candidate;
  }
  throw Error(ErrorCode::kBadPack,
              where + ": element type " + std::to_string(type) + " is not supported");
}

struct OptionsDeleter {
  void operator()(OrtSessionOptions* options) const noexcept {
    release<abi::ReleaseSessionOptions>(options);
  }
};
using OptionsPtr = std::unique_ptr<OrtSessionOptions, OptionsDeleter>;

void append_provider(const Runtime& rt, OrtSessionOptions* options, const std::string& provider,
                     const std::string& where) {
  const std::vector<std::string> available = available_providers();
  if (std::find(available.begin(), available.end(), provider) == available.end()) {
    std::string names;
    for (const std::string& name : available) names += (names.empty() ? "" : ", ") + name;
    throw Error(ErrorCode::kBackendFailed,
                where + ": this ONNX Runtime (" + rt.version + ") has no " + provider +
                    "; it has " + names + ": choose one of these, or install the extra for it");
  }
  const ErrorCode code = ErrorCode::kBackendFailed;
  const std::string what = where + ": " + provider;
  if (provider == "CUDAExecutionProvider") {  // the one that the generic function does not know
    OrtCUDAProviderOptionsV2* cuda = nullptr;
    call<abi::CreateCUDAProviderOptions>(rt, code, what, &cuda);
    OrtStatus* status = function_in<abi::AppendCuda>(rt.api)(options, cuda);
    function_in<abi::ReleaseCUDAProviderOptions>(rt.api)(cuda);
    if (status != nullptr) throw Error(code, what + ": " + take_message(rt.api, status));
    return;
  }
  const std::string suffix = "ExecutionProvider";
  std::string name = provider;
  if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  call<abi::AppendProvider>(rt, code, what, options, name.c_str(), nullptr, nullptr,
                            std::size_t{0});
}

[[nodiscard]] OptionsPtr make_options(const Runtime& rt, const SessionOptions& options,
                                      const std::string& where) {
  const ErrorCode code = ErrorCode::kBackendFailed;
  OrtSessionOptions* raw = nullptr;
  call<abi::CreateSessionOptions>(rt, code, where, &raw);
  OptionsPtr made(raw);
  call<abi::SetIntraOpNumThreads>(rt, code, where, raw, options.intra_op_threads);
  call<abi::SetInterOpNumThreads>(rt, code, where, raw, options.inter_op_threads);
  const char* spinning = options.spinning ? "1" : "0";
  call<abi::AddSessionConfigEntry>(rt, code, where, raw, "session.intra_op.allow_spinning",
                                   spinning);
  call<abi::AddSessionConfigEntry>(rt, code, where, raw, "session.inter_op.allow_spinning",
                                   spinning);
  for (const auto& [key, value] : options.config) {
    call<abi::AddSessionConfigEntry>(rt, code, where + ": " + key, raw, key.c_str(), value.c_str());
  }
  for (const std::string& provider : options.providers) {
    // The CPU provider is always there, as the last one.
    if (provider != "CPUExecutionProvider") append_provider(rt, raw, provider, where);
  }
  return made;
}

// Reads name, type and shape of all inputs, or of all outputs.
template <typename CountSlot, typename NameSlot, typename TypeSlot>
[[nodiscard]] std::vector<TensorInfo> read_tensors(const Runtime& rt, const OrtSession* session,
                                                   const std::string& where) {
  const ErrorCode code = ErrorCode::kBadPack;
  std::size_t count = 0;
  call<CountSlot>(rt, code, where, session, &count);
  std::vector<TensorInfo> tensors(count);
  for (std::size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    call<NameSlot>(rt, code, where, session, i, rt.allocator, &name);
    tensors[i].name = name;
    call<abi::AllocatorFree>(rt, code, where, rt.allocator, static_cast<void*>(name));

    OrtTypeInfo* type = nullptr;
    call<TypeSlot>(rt, code, where, session, i, &type);
    const auto free_type = [](OrtTypeInfo* info) { release<abi::ReleaseTypeInfo>(info); };
    const std::unique_ptr<OrtTypeInfo, decltype(free_type)> holder(type, free_type);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    call<abi::CastTypeInfoToTensorInfo>(rt, code, where, type, &tensor);
    if (tensor == nullptr) throw Error(code, where + ": " + tensors[i].name + " is no tensor");
    abi::Enum element = 0;
    call<abi::GetTensorElementType>(rt, code, where, tensor, &element);
    tensors[i].type = from_onnx(element, where + ": " + tensors[i].name);
    std::size_t rank = 0;
    call<abi::GetDimensionsCount>(rt, code, where, tensor, &rank);
    tensors[i].shape.resize(rank);
    call<abi::GetDimensions>(rt, code, where, tensor, tensors[i].shape.data(), rank);
  }
  return tensors;
}

void require(const std::vector<TensorInfo>& tensors, const std::string& name, const char* what,
             const std::string& path) {
  const auto same = [&](const TensorInfo& tensor) { return tensor.name == name; };
  if (std::any_of(tensors.begin(), tensors.end(), same)) return;
  std::string names;
  for (const TensorInfo& tensor : tensors) names += (names.empty() ? "" : ", ") + tensor.name;
  throw Error(ErrorCode::kBadPack, "[Session] " + path + ": the graph has no " + what + " '" +
                                       name + "' (it has " + names +
                                       "): export it again with this version of interleave_rt");
}

}  // namespace

Session::Session(const std::string& path, const SessionOptions& options)
    : impl_(std::make_unique<Impl>()) {
  const Runtime& rt = runtime("Session");
  const std::string where = "[Session] " + path;
  impl_->path = path;
  const OptionsPtr made = make_options(rt, options, where);
  call<abi::CreateSession>(rt, ErrorCode::kBadPack, where, rt.env, path.c_str(), made.get(),
                           &impl_->session);
  impl_->inputs = read_tensors<abi::SessionGetInputCount, abi::SessionGetInputName,
                               abi::SessionGetInputTypeInfo>(rt, impl_->session, where);
  impl_->outputs = read_tensors<abi::SessionGetOutputCount, abi::SessionGetOutputName,
                                abi::SessionGetOutputTypeInfo>(rt, impl_->session, where);
}

Session::~Session() = default;

const std::vector<TensorInfo>& Session::inputs() const noexcept { return impl_->inputs; }
const std::vector<TensorInfo>& Session::outputs() const noexcept { return impl_->outputs; }

void Session::require_input(const std::string& name) const {
  require(impl_->inputs, name, "input", impl_->path);
}

void Session::require_output(const std::string& name) const {
  require(impl_->outputs, name, "output", impl_->path);
}

// ---- Run ----------------------------------------------------------------------------------

struct Run::Impl {
  const Runtime& rt;
  const Session::Impl& session;
  OrtIoBinding* binding = nullptr;

  std::mutex mutex;  // of everything below
  OrtRunOptions* options = nullptr;
  bool running = false;
  bool terminated = false;  // the options are spent: the flag in them stays set

  Impl(const Runtime& loaded, const Session::Impl& graph) : rt(loaded), session(graph) {
    call<abi::CreateIoBinding>(rt, ErrorCode::kBackendFailed, where(), session.session, &binding);
    ++live_counters().runs;
  }
  ~Impl() {
    release<abi::ReleaseIoBinding>(binding);
    release<abi::ReleaseRunOptions>(options);
    --live_counters().runs;
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] std::string where() const { return "[Run] " + session.path; }
};

Run::Run(const Session& session) : impl_(std::make_unique<Impl>(runtime("Run"), *session.impl_)) {}
Run::~Run() = default;

void Run::bind_input(const std::string& name, const Value& value) {
  require(impl_->session.inputs, name, "input", impl_->session.path);
  if (value.impl_ == nullptr) {
    throw Error(ErrorCode::kInternal, impl_->where() + ": empty value for input " + name);
  }
  call<abi::BindInput>(impl_->rt, ErrorCode::kBadPack, impl_->where() + ": input " + name,
                       impl_->binding, name.c_str(), value.impl_->value);
}

void Run::bind_output(const std::string& name, const Value& value) {
  require(impl_->session.outputs, name, "output", impl_->session.path);
  if (value.impl_ == nullptr) {
    throw Error(ErrorCode::kInternal, impl_->where() + ": empty value for output " + name);
  }
  call<abi::BindOutput>(impl_->rt, ErrorCode::kBadPack, impl_->where() + ": output " + name,
                        impl_->binding, name.c_str(), value.impl_->value);
}

void Run::clear_bindings() {
  function_in<abi::ClearBoundInputs>(impl_->rt.api)(impl_->binding);
  function_in<abi::ClearBoundOutputs>(impl_->rt.api)(impl_->binding);
}

void Run::run() {
  Impl& self = *impl_;
  {
    const std::lock_guard lock(self.mutex);
    if (self.terminated) release<abi::ReleaseRunOptions>(std::exchange(self.options, nullptr));
    self.terminated = false;
    if (self.options == nullptr) {
      call<abi::CreateRunOptions>(self.rt, ErrorCode::kBackendFailed, self.where(), &self.options);
    }
    self.running = true;
  }
  OrtStatus* status = function_in<abi::RunWithBinding>(self.rt.api)(self.session.session,
                                                                    self.options, self.binding);
  bool terminated = false;
  {
    const std::lock_guard lock(self.mutex);
    self.running = false;
    terminated = self.terminated;
  }
  if (status == nullptr) return;
  const std::string message = take_message(self.rt.api, status);
  if (terminated) throw Error(ErrorCode::kCancelled, self.where() + ": terminated");
  throw Error(ErrorCode::kBackendFailed, self.where() + ": " + message);
}

void Run::terminate() noexcept {
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->running) return;
  impl_->terminated = true;
  OrtStatus* status = function_in<abi::RunOptionsSetTerminate>(impl_->rt.api)(impl_->options);
  if (status != nullptr) function_in<abi::ReleaseStatus>(impl_->rt.api)(status);
}

}  // namespace irt
