// Graphs as ONNX Runtime runs them, and the memory of its devices.
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "tensor/runtime.h"

namespace irt {
namespace {

[[nodiscard]] abi::Enum to_onnx(ElementType type) noexcept {
  switch (type) {
    case ElementType::kFloat32: return abi::kFloat;
    case ElementType::kInt64: return abi::kInt64;
    case ElementType::kInt32: return abi::kInt32;
    case ElementType::kBool: return abi::kBool;
    case ElementType::kFloat16: return abi::kFloat16;
    case ElementType::kUint8: return abi::kUint8;
  }
  return 0;
}

[[nodiscard]] ElementType from_onnx(abi::Enum type, const std::string& where) {
  for (const ElementType candidate :
       {ElementType::kFloat32, ElementType::kInt64, ElementType::kInt32, ElementType::kBool,
        ElementType::kFloat16, ElementType::kUint8}) {
    if (to_onnx(candidate) == type) return candidate;
  }
  throw Error(ErrorCode::kBadPack,
              where + ": element type " + std::to_string(type) + " is not supported");
}

// What the library hands out and takes back.
template <typename T, typename Slot>
struct Release {
  void operator()(T* object) const noexcept { release<Slot>(object); }
};
template <typename T, typename Slot>
using Handle = std::unique_ptr<T, Release<T, Slot>>;
using OptionsPtr = Handle<OrtSessionOptions, abi::ReleaseSessionOptions>;
using SessionPtr = Handle<OrtSession, abi::ReleaseSession>;
using BindingPtr = Handle<OrtIoBinding, abi::ReleaseIoBinding>;
using MemoryInfoPtr = Handle<OrtMemoryInfo, abi::ReleaseMemoryInfo>;
using AllocatorPtr = Handle<OrtAllocator, abi::ReleaseAllocator>;
using RunOptionsPtr = Handle<OrtRunOptions, abi::ReleaseRunOptions>;

struct ReleaseCountedValue {
  void operator()(OrtValue* value) const noexcept {
    release<abi::ReleaseValue>(value);
    --live_counters().values;
  }
};
using ValuePtr = std::unique_ptr<OrtValue, ReleaseCountedValue>;

// A view of memory; a binding needs the memory, not the value.
[[nodiscard]] ValuePtr wrap(const Runtime& rt, const OrtMemoryInfo* info, void* data,
                            std::size_t bytes, const Shape& shape, abi::Enum type,
                            const std::string& where) {
  OrtValue* made = nullptr;
  call<abi::CreateTensorWithDataAsOrtValue>(rt, ErrorCode::kInternal,
                                            where + ": CreateTensorWithDataAsOrtValue", info, data,
                                            bytes, shape.data(), shape.size(), type, &made);
  ++live_counters().values;
  return ValuePtr(made);
}

// ---- providers ----------------------------------------------------------------------------

constexpr const char* kCpu = "CPUExecutionProvider";
constexpr const char* kCuda = "CUDAExecutionProvider";

struct EntryPointers {
  explicit EntryPointers(const Entries& entries) {
    for (const auto& [key, value] : entries) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }
  std::vector<const char*> keys;
  std::vector<const char*> values;
};

[[nodiscard]] const Entries& entries_of(const SessionOptions& options, const std::string& name) {
  static const Entries none;
  const auto found = options.provider_options.find(name);
  return found == options.provider_options.end() ? none : found->second;
}

// What a pack may override. A search for the fastest convolution picks by its timings, so that two
// sessions may differ in their bits, and it captures a stream, during which every other session's
// synchronisation fails. Float32 graphs are computed in float32.
constexpr std::pair<const char*, const char*> kCudaDefaults[] = {
    {"cudnn_conv_algo_search", "HEURISTIC"}, {"use_tf32", "0"}};

void append_cuda(const Runtime& rt, OrtSessionOptions* options, const Entries& entries,
                 const std::string& where) {
  const ErrorCode code = ErrorCode::kBackendFailed;
  OrtCUDAProviderOptionsV2* raw = nullptr;
  call<abi::CreateCUDAProviderOptions>(rt, code, where + ": CreateCUDAProviderOptions", &raw);
  const Handle<OrtCUDAProviderOptionsV2, abi::ReleaseCUDAProviderOptions> cuda(raw);
  Entries all = entries;
  for (const auto& [key, value] : kCudaDefaults) {
    const auto same = [&key](const auto& entry) { return entry.first == key; };
    if (std::ranges::none_of(all, same)) all.emplace_back(key, value);
  }
  const EntryPointers pointers(all);
  call<abi::UpdateCUDAProviderOptions>(rt, code, where + ": UpdateCUDAProviderOptions", raw,
                                       pointers.keys.data(), pointers.values.data(), all.size());
  call<abi::AppendCuda>(rt, code, where + ": SessionOptionsAppendExecutionProvider_CUDA_V2",
                        options, static_cast<const OrtCUDAProviderOptionsV2*>(raw));
}

void append_provider(const Runtime& rt, OrtSessionOptions* options, const std::string& provider,
                     const Entries& entries, const std::string& where) {
  const std::vector<std::string> available = available_providers();
  if (std::find(available.begin(), available.end(), provider) == available.end()) {
    std::string names;
    for (const std::string& name : available) names += (names.empty() ? "" : ", ") + name;
    throw Error(ErrorCode::kBackendFailed,
                where + ": this ONNX Runtime (" + rt.version + ") has no " + provider +
                    "; it has " + names + ": choose one of these, or install the extra for it");
  }
  const std::string what = where + ": " + provider;
  if (provider == kCuda) return append_cuda(rt, options, entries, what);  // has its own function
  const std::string suffix = "ExecutionProvider";
  std::string name = provider;
  if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  const EntryPointers pointers(entries);
  call<abi::AppendProvider>(rt, ErrorCode::kBackendFailed, what, options, name.c_str(),
                            pointers.keys.data(), pointers.values.data(), entries.size());
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
    if (provider == kCpu) continue;
    append_provider(rt, raw, provider, entries_of(options, provider), where);
  }
  return made;
}

// ---- device memory ------------------------------------------------------------------------

// A graph that copies its input, as the library reads it: Identity over uint8 [n].
[[nodiscard]] std::string copying_graph() {
  // Protocol buffers: a field is its number and kind, then its value.
  const auto text = [](int field, const std::string& value) {
    return std::string{static_cast<char>(field << 3 | 2), static_cast<char>(value.size())} + value;
  };
  const auto number = [](int field, int value) {
    return std::string{static_cast<char>(field << 3), static_cast<char>(value)};
  };
  const std::string shape = text(1, text(2, "n"));
  const std::string bytes = text(1, number(1, abi::kUint8) + text(2, shape));
  const std::string node = text(1, "x") + text(2, "y") + text(4, "Identity");
  const std::string graph = text(1, node) + text(2, "copy") +
                            text(11, text(1, "x") + text(2, bytes)) +
                            text(12, text(1, "y") + text(2, bytes));
  return number(1, 8) + text(7, graph) + text(8, text(1, "") + number(2, 13));
}

// Memory that a provider's graphs work in, allocated and copied by a session of that provider: a
// copy is a run of a graph that copies, whose input and output are bound where they lie.
class OrtDevice final : public Device {
 public:
  // `memory`: the provider's name of its memory, e.g. "Cuda".
  OrtDevice(std::string name, const char* memory, int id, const SessionOptions& options)
      : rt_(runtime("Device")), name_(std::move(name)), where_("[Device " + name_ + "]") {
    const ErrorCode code = ErrorCode::kBackendFailed;
    const OptionsPtr made = make_options(rt_, options, where_);
    const std::string graph = copying_graph();
    OrtSession* session = nullptr;
    call<abi::CreateSessionFromArray>(rt_, code, where_ + ": CreateSessionFromArray", rt_.env,
                                      static_cast<const void*>(graph.data()), graph.size(),
                                      static_cast<const OrtSessionOptions*>(made.get()), &session);
    session_.reset(session);
    OrtMemoryInfo* info = nullptr;
    call<abi::CreateMemoryInfo>(rt_, code, where_ + ": CreateMemoryInfo", memory,
                                abi::kDeviceAllocator, id, abi::kDefaultMemory, &info);
    info_.reset(info);
    OrtAllocator* allocator = nullptr;
    call<abi::CreateAllocator>(rt_, code, where_ + ": CreateAllocator",
                               static_cast<const OrtSession*>(session),
                               static_cast<const OrtMemoryInfo*>(info), &allocator);
    allocator_.reset(allocator);
    OrtIoBinding* binding = nullptr;
    call<abi::CreateIoBinding>(rt_, code, where_ + ": CreateIoBinding", session, &binding);
    binding_.reset(binding);
    try_copies();
  }

  const std::string& name() const noexcept override { return name_; }
  const OrtMemoryInfo* memory_info() const noexcept override { return info_.get(); }

  std::byte* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    call<abi::AllocatorAlloc>(rt_, ErrorCode::kBackendFailed,
                              where_ + ": AllocatorAlloc of " + std::to_string(bytes) + " bytes",
                              allocator_.get(), std::max<std::size_t>(bytes, 1), &memory);
    if (memory == nullptr) {
      throw Error(ErrorCode::kBackendFailed,
                  where_ + " has no " + std::to_string(bytes) +
                      " bytes left: lower slots or the cache length, or use a larger device");
    }
    return static_cast<std::byte*>(memory);
  }
  void free(std::byte* memory) noexcept override {
    OrtStatus* status = function_in<abi::AllocatorFree>(rt_.api)(allocator_.get(), memory);
    (void)take_message(rt_.api, status);
  }
  void copy_in(std::byte* to, const void* from, std::size_t bytes) override {
    copy(info_.get(), to, rt_.cpu_memory, const_cast<void*>(from), bytes);
  }
  void copy_out(void* to, const std::byte* from, std::size_t bytes) override {
    copy(rt_.cpu_memory, to, info_.get(), const_cast<std::byte*>(from), bytes);
  }
  void copy_within(std::byte* to, const std::byte* from, std::size_t bytes) override {
    copy(info_.get(), to, info_.get(), const_cast<std::byte*>(from), bytes);
  }
  void zero(std::byte* to, std::size_t bytes) override {
    static const std::vector<std::byte> zeros(std::size_t{1} << 20U);
    for (std::size_t done = 0; done < bytes; done += zeros.size()) {
      copy_in(to + done, zeros.data(), std::min(zeros.size(), bytes - done));
    }
  }

 private:
  void copy(const OrtMemoryInfo* to_info, void* to, const OrtMemoryInfo* from_info, void* from,
            std::size_t bytes) {
    if (bytes == 0) return;
    const Shape shape{static_cast<std::int64_t>(bytes)};
    const ValuePtr x = wrap(rt_, from_info, from, bytes, shape, abi::kUint8, where_);
    const ValuePtr y = wrap(rt_, to_info, to, bytes, shape, abi::kUint8, where_);
    const ErrorCode code = ErrorCode::kBackendFailed;
    const std::lock_guard lock(mutex_);
    call<abi::BindInput>(rt_, code, where_ + ": BindInput", binding_.get(), "x",
                         static_cast<const OrtValue*>(x.get()));
    call<abi::BindOutput>(rt_, code, where_ + ": BindOutput", binding_.get(), "y",
                          static_cast<const OrtValue*>(y.get()));
    call<abi::SynchronizeBoundInputs>(rt_, code, where_ + ": SynchronizeBoundInputs",
                                      binding_.get());
    call<abi::RunWithBinding>(rt_, code, where_ + ": RunWithBinding", session_.get(),
                              static_cast<const OrtRunOptions*>(nullptr),
                              static_cast<const OrtIoBinding*>(binding_.get()));
    call<abi::SynchronizeBoundOutputs>(rt_, code, where_ + ": SynchronizeBoundOutputs",
                                       binding_.get());
  }

  // A device whose copies do not arrive must not be found out by wrong pictures.
  void try_copies() {
    std::string there = "interleave-rt copy test";
    std::string back(there.size(), '\0');
    const auto drop = [this](std::byte* memory) { free(memory); };
    const std::unique_ptr<std::byte, decltype(drop)> first(allocate(there.size()), drop);
    const std::unique_ptr<std::byte, decltype(drop)> second(allocate(there.size()), drop);
    copy_in(first.get(), there.data(), there.size());
    copy_within(second.get(), first.get(), there.size());
    zero(first.get(), there.size());
    copy_out(back.data(), second.get(), back.size());
    std::string blank(there.size(), 'x');
    copy_out(blank.data(), first.get(), blank.size());
    if (back == there && blank == std::string(blank.size(), '\0')) return;
    throw Error(ErrorCode::kBackendFailed,
                where_ + ": bytes that were copied there and back are not the same");
  }

  const Runtime& rt_;
  std::string name_;
  std::string where_;
  SessionPtr session_;
  MemoryInfoPtr info_;
  AllocatorPtr allocator_;
  std::mutex mutex_;  // of the binding
  BindingPtr binding_;
};

// Where the tensors of such a session should live: one object for each device, so that tensors of
// one session are known to lie where another one works.
[[nodiscard]] DeviceRef device_for(const SessionOptions& options) {
  if (options.providers.empty() || options.providers.front() != kCuda) return host();
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<Device>> known;
  std::string id = "0";
  const Entries& entries = entries_of(options, kCuda);
  for (const auto& [key, value] : entries) {
    if (key == "device_id") id = value;
  }
  const std::string name = "cuda:" + id;
  const std::lock_guard lock(mutex);
  if (DeviceRef device = known[name].lock()) return device;
  SessionOptions copying;
  copying.providers = {kCuda};
  copying.provider_options[kCuda] = entries;
  auto device = std::make_shared<OrtDevice>(name, "Cuda", std::stoi(id), copying);
  known[name] = device;
  return device;
}

// ---- graphs -------------------------------------------------------------------------------

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

    OrtTypeInfo* raw = nullptr;
    call<TypeSlot>(rt, code, where, session, i, &raw);
    const Handle<OrtTypeInfo, abi::ReleaseTypeInfo> type(raw);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    call<abi::CastTypeInfoToTensorInfo>(rt, code, where, static_cast<const OrtTypeInfo*>(raw),
                                        &tensor);
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

class OrtBinding final : public Binding {
 public:
  OrtBinding(const Runtime& rt, OrtSession* session, std::string where, bool synchronize)
      : rt_(rt), session_(session), where_(std::move(where)), synchronize_(synchronize) {
    OrtIoBinding* binding = nullptr;
    call<abi::CreateIoBinding>(rt_, ErrorCode::kBackendFailed, where_ + ": CreateIoBinding",
                               session_, &binding);
    binding_.reset(binding);
  }

  void bind_input(const std::string& name, const Tensor& tensor) override {
    const ValuePtr value = value_of(tensor, name);
    call<abi::BindInput>(rt_, ErrorCode::kBadPack, where_ + ": BindInput " + name, binding_.get(),
                         name.c_str(), static_cast<const OrtValue*>(value.get()));
  }
  void bind_output(const std::string& name, const Tensor& tensor) override {
    const ValuePtr value = value_of(tensor, name);
    call<abi::BindOutput>(rt_, ErrorCode::kBadPack, where_ + ": BindOutput " + name, binding_.get(),
                          name.c_str(), static_cast<const OrtValue*>(value.get()));
  }
  void clear() noexcept override {
    function_in<abi::ClearBoundInputs>(rt_.api)(binding_.get());
    function_in<abi::ClearBoundOutputs>(rt_.api)(binding_.get());
  }

  void run() override {
    {
      const std::lock_guard lock(mutex_);
      if (terminated_) options_.reset();
      terminated_ = false;
      if (!options_) {
        OrtRunOptions* made = nullptr;
        call<abi::CreateRunOptions>(rt_, ErrorCode::kBackendFailed, where_, &made);
        options_.reset(made);
      }
      running_ = true;
    }
    OrtStatus* status = nullptr;
    if (synchronize_) {
      status = function_in<abi::SynchronizeBoundInputs>(rt_.api)(binding_.get());
    }
    if (status == nullptr) {
      status = function_in<abi::RunWithBinding>(rt_.api)(session_, options_.get(), binding_.get());
    }
    if (status == nullptr && synchronize_) {
      status = function_in<abi::SynchronizeBoundOutputs>(rt_.api)(binding_.get());
    }
    bool terminated = false;
    {
      const std::lock_guard lock(mutex_);
      running_ = false;
      terminated = terminated_;
    }
    if (status == nullptr) return;
    const std::string message = take_message(rt_.api, status);
    if (terminated) throw Error(ErrorCode::kCancelled, where_ + ": terminated");
    throw Error(ErrorCode::kBackendFailed, where_ + ": " + message);
  }

  void terminate() noexcept override {
    const std::lock_guard lock(mutex_);
    if (!running_) return;
    terminated_ = true;
    OrtStatus* status = function_in<abi::RunOptionsSetTerminate>(rt_.api)(options_.get());
    if (status != nullptr) function_in<abi::ReleaseStatus>(rt_.api)(status);
  }

 private:
  [[nodiscard]] ValuePtr value_of(const Tensor& tensor, const std::string& name) const {
    const Device& device = *tensor.device();
    const OrtMemoryInfo* info = device.is_host() ? rt_.cpu_memory : device.memory_info();
    if (info == nullptr) {
      throw Error(ErrorCode::kInternal, where_ + ": ONNX Runtime does not know the memory of " +
                                            device.name() + " (" + name + ")");
    }
    return wrap(rt_, info, tensor.data(), tensor.bytes(), tensor.shape(), to_onnx(tensor.type()),
                where_ + ": " + name);
  }

  const Runtime& rt_;
  OrtSession* session_;
  std::string where_;
  bool synchronize_;
  BindingPtr binding_;

  std::mutex mutex_;  // of everything below
  RunOptionsPtr options_;
  bool running_ = false;
  bool terminated_ = false;  // the options are spent: the flag in them stays set
};

class OrtGraph final : public Graph {
 public:
  OrtGraph(const std::string& path, const SessionOptions& options)
      : rt_(runtime("Session")), path_(path) {
    const std::string where = "[Session] " + path;
    in_place_ = std::ranges::all_of(options.providers,
                                    [](const std::string& name) { return name == kCpu; });
    const OptionsPtr made = make_options(rt_, options, where);
    device_ = device_for(options);
    OrtSession* session = nullptr;
    call<abi::CreateSession>(rt_, ErrorCode::kBadPack, where, rt_.env, path.c_str(),
                             static_cast<const OrtSessionOptions*>(made.get()), &session);
    session_.reset(session);
    inputs_ = read_tensors<abi::SessionGetInputCount, abi::SessionGetInputName,
                           abi::SessionGetInputTypeInfo>(rt_, session, where);
    outputs_ = read_tensors<abi::SessionGetOutputCount, abi::SessionGetOutputName,
                            abi::SessionGetOutputTypeInfo>(rt_, session, where);
  }

  const std::vector<TensorInfo>& inputs() const noexcept override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const noexcept override { return outputs_; }
  const DeviceRef& device() const noexcept override { return device_; }
  bool in_place() const noexcept override { return in_place_; }
  std::unique_ptr<Binding> bind() override {
    return std::make_unique<OrtBinding>(rt_, session_.get(), "[Run] " + path_, !in_place_);
  }

 private:
  const Runtime& rt_;
  std::string path_;
  bool in_place_ = true;
  DeviceRef device_;
  SessionPtr session_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

std::unique_ptr<Graph> open_ort_graph(const std::string& path, const SessionOptions& options) {
  return std::make_unique<OrtGraph>(path, options);
}

}  // namespace irt
