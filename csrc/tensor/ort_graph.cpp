// Graphs as ONNX Runtime runs them, and the memory of its devices.
#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "tensor/runtime.h"

namespace irt {
namespace {

[[nodiscard]] abi::Enum to_onnx(ElementType type) noexcept { return static_cast<abi::Enum>(type); }

// What the library hands out and takes back.
template <typename Slot>
struct Release {
  template <typename T>
  void operator()(T* object) const noexcept {
    if (const Runtime* rt = runtime_or_null()) function_in<Slot>(rt->api)(object);
  }
};
template <typename T, typename Slot>
using Handle = std::unique_ptr<T, Release<Slot>>;
using OptionsPtr = Handle<OrtSessionOptions, abi::ReleaseSessionOptions>;
using SessionPtr = Handle<OrtSession, abi::ReleaseSession>;
using BindingPtr = Handle<OrtIoBinding, abi::ReleaseIoBinding>;
using MemoryInfoPtr = Handle<OrtMemoryInfo, abi::ReleaseMemoryInfo>;
using AllocatorPtr = Handle<OrtAllocator, abi::ReleaseAllocator>;
using RunOptionsPtr = Handle<OrtRunOptions, abi::ReleaseRunOptions>;
using TypePtr = Handle<OrtTypeInfo, abi::ReleaseTypeInfo>;
using CudaOptionsPtr = Handle<OrtCUDAProviderOptionsV2, abi::ReleaseCUDAProviderOptions>;

struct ReleaseCountedValue {
  void operator()(OrtValue* value) const noexcept {
    Release<abi::ReleaseValue>()(value);
    --live_objects().values;
  }
};
using ValuePtr = std::unique_ptr<OrtValue, ReleaseCountedValue>;

// What a function makes and returns through its last argument.
template <typename Slot, typename Ptr, typename... Args>
[[nodiscard]] Ptr make(const Runtime& rt, ErrorCode code, const std::string& where, Args... args) {
  typename Ptr::pointer made = nullptr;
  call<Slot>(rt, code, where, args..., &made);
  return Ptr(made);
}

constexpr ErrorCode kFailed = ErrorCode::kBackendFailed;

// A view of memory; a binding needs the memory, not the value.
[[nodiscard]] ValuePtr wrap(const Runtime& rt, const OrtMemoryInfo* info, void* data,
                            std::size_t bytes, const Shape& shape, abi::Enum type,
                            const std::string& where) {
  ValuePtr made = make<abi::CreateTensorWithDataAsOrtValue, ValuePtr>(
      rt, ErrorCode::kInternal, where, info, data, bytes, shape.data(), shape.size(), type);
  ++live_objects().values;
  return made;
}

// ---- providers ----------------------------------------------------------------------------

constexpr const char* kCpu = "CPUExecutionProvider";
constexpr const char* kCuda = "CUDAExecutionProvider";

// A search for the fastest convolution picks by its timings, so that two sessions may differ in
// their bits, and it captures a stream, during which every other session's synchronisation fails.
// Float32 graphs are computed in float32.
constexpr std::array kCudaKeys = {"cudnn_conv_algo_search", "use_tf32"};
constexpr std::array kCudaValues = {"HEURISTIC", "0"};

void append_cuda(const Runtime& rt, OrtSessionOptions* options, const std::string& where) {
  const auto cuda = make<abi::CreateCUDAProviderOptions, CudaOptionsPtr>(rt, kFailed, where);
  call<abi::UpdateCUDAProviderOptions>(rt, kFailed, where, cuda.get(), kCudaKeys.data(),
                                       kCudaValues.data(), kCudaKeys.size());
  call<abi::SessionOptionsAppendExecutionProvider_CUDA_V2>(rt, kFailed, where, options, cuda.get());
}

void append_provider(const Runtime& rt, OrtSessionOptions* options, const std::string& provider,
                     const std::string& where) {
  const std::vector<std::string> available = available_providers();
  if (std::ranges::find(available, provider) == available.end()) {
    std::string names;
    for (const std::string& name : available) {
      if (name == "AzureExecutionProvider") continue;  // asks a cloud; it runs no graph
      names += (names.empty() ? "" : ", ") + name;
    }
    throw Error(kFailed, where + ": this ONNX Runtime (" + rt.version + ") has no " + provider +
                             "; it has " + names +
                             ": choose one of these, or install the extra for it");
  }
  const std::string what = where + ": " + provider;
  if (provider == kCuda) return append_cuda(rt, options, what);  // has its own function
  const std::string suffix = "ExecutionProvider";
  std::string name = provider;
  if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  call<abi::SessionOptionsAppendExecutionProvider>(rt, kFailed, what, options, name.c_str(),
                                                   nullptr, nullptr, std::size_t{0});
}

[[nodiscard]] OptionsPtr make_options(const Runtime& rt, const SessionOptions& options,
                                      const std::string& where) {
  OptionsPtr made = make<abi::CreateSessionOptions, OptionsPtr>(rt, kFailed, where);
  call<abi::SetIntraOpNumThreads>(rt, kFailed, where, made.get(), options.intra_op_threads);
  call<abi::SetInterOpNumThreads>(rt, kFailed, where, made.get(), 1);
  // A spinning pool starves the other lanes of a small machine.
  for (const char* pool : {"session.intra_op.allow_spinning", "session.inter_op.allow_spinning"}) {
    call<abi::AddSessionConfigEntry>(rt, kFailed, where, made.get(), pool, "0");
  }
  // Weights behind a DequantizeLinear (fp8) become float32 once, when the graph is loaded, not in
  // every run.
  call<abi::AddSessionConfigEntry>(rt, kFailed, where, made.get(), "session.disable_quant_qdq",
                                   "1");
  for (const std::string& provider : options.providers) {
    // The CPU provider is always there, as the last one.
    if (provider != kCpu) append_provider(rt, made.get(), provider, where);
  }
  return made;
}

// ---- device memory ------------------------------------------------------------------------

struct GraphNode {
  const char* kind;
  std::vector<const char*> inputs;
  const char* output;
  const char* attribute = nullptr;  // "to" or "axes"
  int value = 0;
};

// A graph as the library reads it, from x, ... of any size to y, which is as large as x: vectors,
// or arrays of more axes.
[[nodiscard]] std::string small_graph(ElementType type, const std::vector<const char*>& inputs,
                                      const std::vector<GraphNode>& nodes, int axes = 1) {
  // Protocol buffers: a field is its number and kind, then its value.
  // Appended, not added: of a sum of strings g++ 12 warns by mistake (-Wrestrict) once it inlines.
  const auto pack = [](std::string& made, std::size_t value) {
    for (; value > 0x7f; value >>= 7U) made += static_cast<char>((value & 0x7fU) | 0x80U);
    made += static_cast<char>(value);
  };
  const auto text = [&pack](int field, const std::string& value) {
    std::string made;
    pack(made, static_cast<std::size_t>(field) << 3U | 2U);
    pack(made, value.size());
    made += value;
    return made;
  };
  const auto number = [&pack](int field, int value) {
    std::string made;
    pack(made, static_cast<std::size_t>(field) << 3U);
    pack(made, static_cast<std::size_t>(value));
    return made;
  };
  const auto array = [&](const std::string& name) {  // of sizes of its own
    std::string shape;
    for (int axis = 0; axis < axes; ++axis) {
      shape += text(1, text(2, (name == "y" ? "x" : name) + std::to_string(axis)));
    }
    return text(1, name) + text(2, text(1, number(1, to_onnx(type)) + text(2, shape)));
  };
  std::string graph;
  for (const GraphNode& node : nodes) {
    std::string said;
    for (const char* input : node.inputs) said += text(1, input);
    said += text(2, node.output) + text(4, node.kind);
    if (node.attribute != nullptr) {  // an integer (type 2), or a list of one (type 7)
      const bool list = std::string(node.attribute) == "axes";
      said += text(
          5, text(1, node.attribute) + number(list ? 8 : 3, node.value) + number(20, list ? 7 : 2));
    }
    graph += text(1, said);
  }
  graph += text(2, "small");
  for (const char* input : inputs) graph += text(11, array(input));
  graph += text(12, array("y"));
  return number(1, 8) + text(7, graph) + text(8, text(1, "") + number(2, 13));
}

// Memory that a provider's graphs work in, allocated and copied by a session of that provider: a
// copy is a run of a graph that copies, whose input and output are bound where they lie.
class OrtDevice final : public Device {
 public:
  // `memory`: the provider's name of its memory, e.g. "Cuda".
  OrtDevice(std::string name, const char* memory, const SessionOptions& options)
      : rt_(runtime("Device")), name_(std::move(name)), where_("[Device " + name_ + "]") {
    const OptionsPtr made = make_options(rt_, options, where_);
    const auto open = [&](Operation& operation, const std::string& graph) {
      operation.session = make<abi::CreateSessionFromArray, SessionPtr>(
          rt_, kFailed, where_, rt_.env, graph.data(), graph.size(), made.get());
      operation.binding =
          make<abi::CreateIoBinding, BindingPtr>(rt_, kFailed, where_, operation.session.get());
    };
    open(copy_, small_graph(ElementType::kUint8, {"x"}, {{"Identity", {"x"}, "y"}}));
    open(add_, small_graph(ElementType::kFloat32, {"x", "scale", "d"},
                           {{"Mul", {"d", "scale"}, "move"}, {"Add", {"x", "move"}, "y"}}));
    constexpr int kDouble = 11;  // as ONNX numbers it
    open(rescale_, small_graph(ElementType::kFloat32, {"x", "like"},
                               {{"Cast", {"x"}, "exact", "to", kDouble},
                                {"Cast", {"like"}, "wanted", "to", kDouble},
                                {"ReduceSumSquare", {"exact"}, "found.squares", "axes", 1},
                                {"ReduceSumSquare", {"wanted"}, "wanted.squares", "axes", 1},
                                {"Div", {"wanted.squares", "found.squares"}, "quotient"},
                                {"Sqrt", {"quotient"}, "root"},
                                {"Cast", {"root"}, "scale", "to", to_onnx(ElementType::kFloat32)},
                                {"Mul", {"x", "scale"}, "y"}},
                               2));
    info_ = make<abi::CreateMemoryInfo, MemoryInfoPtr>(
        rt_, kFailed, where_, memory, abi::kDeviceAllocator, 0, abi::kDefaultMemory);
    allocator_ = make<abi::CreateAllocator, AllocatorPtr>(rt_, kFailed, where_, copy_.session.get(),
                                                          info_.get());
    try_copies();
  }

  const std::string& name() const noexcept override { return name_; }
  const OrtMemoryInfo* memory_info() const noexcept override { return info_.get(); }

  std::byte* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    call<abi::AllocatorAlloc>(rt_, kFailed, where_ + ": " + std::to_string(bytes) + " bytes",
                              allocator_.get(), std::max<std::size_t>(bytes, 1), &memory);
    if (memory == nullptr) {
      throw Error(kFailed, where_ + " has no " + std::to_string(bytes) +
                               " bytes left: lower slots or the cache length, or use a larger "
                               "device");
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

  void add_scaled(std::byte* to, const std::byte* from, float scale, const std::byte* direction,
                  std::size_t count) override {
    if (count == 0) return;
    const auto there = [&](const std::byte* memory) {
      return floats(info_.get(), const_cast<std::byte*>(memory), count);
    };
    const Operand inputs[] = {
        {"x", there(from)}, {"scale", floats(rt_.cpu_memory, &scale, 1)}, {"d", there(direction)}};
    run(add_, inputs, there(to));
  }

  void rescale(std::byte* rows, const std::byte* like, std::size_t count,
               std::size_t columns) override {
    if (count == 0 || columns == 0) return;
    const auto there = [&](const std::byte* memory) {
      return wrap(rt_, info_.get(), const_cast<std::byte*>(memory), count * columns * sizeof(float),
                  {static_cast<std::int64_t>(count), static_cast<std::int64_t>(columns)},
                  to_onnx(ElementType::kFloat32), where_);
    };
    const Operand inputs[] = {{"x", there(rows)}, {"like", there(like)}};
    run(rescale_, inputs, there(rows));
  }

 private:
  struct Operation {
    SessionPtr session;
    BindingPtr binding;
  };
  struct Operand {
    const char* name;
    ValuePtr value;
  };

  [[nodiscard]] ValuePtr floats(const OrtMemoryInfo* info, void* memory, std::size_t count) const {
    return wrap(rt_, info, memory, count * sizeof(float), {static_cast<std::int64_t>(count)},
                to_onnx(ElementType::kFloat32), where_);
  }

  void copy(const OrtMemoryInfo* to_info, void* to, const OrtMemoryInfo* from_info, void* from,
            std::size_t bytes) {
    if (bytes == 0) return;
    const Shape shape{static_cast<std::int64_t>(bytes)};
    const abi::Enum type = to_onnx(ElementType::kUint8);
    Operand x{"x", wrap(rt_, from_info, from, bytes, shape, type, where_)};
    run(copy_, {&x, 1}, wrap(rt_, to_info, to, bytes, shape, type, where_));
  }

  void run(Operation& operation, std::span<const Operand> inputs, const ValuePtr& y) {
    OrtIoBinding* const binding = operation.binding.get();
    const std::lock_guard lock(mutex_);
    for (const Operand& input : inputs) {
      call<abi::BindInput>(rt_, kFailed, where_, binding, input.name, input.value.get());
    }
    call<abi::BindOutput>(rt_, kFailed, where_, binding, "y", y.get());
    call<abi::SynchronizeBoundInputs>(rt_, kFailed, where_, binding);
    call<abi::RunWithBinding>(rt_, kFailed, where_, operation.session.get(), nullptr, binding);
    call<abi::SynchronizeBoundOutputs>(rt_, kFailed, where_, binding);
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
    if (back != there || blank != std::string(blank.size(), '\0')) {
      throw Error(kFailed, where_ + ": bytes that were copied there and back are not the same");
    }
    // The product's rounding is all that is left: a sum that rounds once gives another number.
    const float third = 1.0F / 3.0F;
    const float less = -(third * third);
    float sum = 1.0F;
    copy_in(first.get(), reinterpret_cast<const std::byte*>(&less), sizeof less);
    copy_in(second.get(), reinterpret_cast<const std::byte*>(&third), sizeof third);
    add_scaled(first.get(), first.get(), third, second.get(), 1);
    copy_out(&sum, first.get(), sizeof sum);
    float expected = 1.0F;
    host()->add_scaled(reinterpret_cast<std::byte*>(&expected),
                       reinterpret_cast<const std::byte*>(&less), third,
                       reinterpret_cast<const std::byte*>(&third), 1);
    if (sum != expected) {
      throw Error(kFailed, where_ + ": it adds otherwise than the host");
    }
    const std::array<float, 2> row{3.0F, 4.0F};
    const std::array<float, 2> twice{-8.0F, 6.0F};
    std::array<float, 2> scaled{};
    copy_in(first.get(), row.data(), sizeof row);
    copy_in(second.get(), twice.data(), sizeof twice);
    rescale(first.get(), second.get(), 1, row.size());
    copy_out(scaled.data(), first.get(), sizeof scaled);
    if (scaled != std::array{6.0F, 8.0F}) {
      throw Error(kFailed, where_ + ": it scales otherwise than the host");
    }
  }

  const Runtime& rt_;
  std::string name_;
  std::string where_;
  Operation copy_;
  Operation add_;
  Operation rescale_;
  MemoryInfoPtr info_;
  AllocatorPtr allocator_;
  std::mutex mutex_;  // of the bindings
};

}  // namespace

DeviceRef open_device(const std::string& name, const char* memory, const SessionOptions& options) {
  return std::make_shared<OrtDevice>(name, memory, options);
}

namespace {

// Where the tensors of such a session should live: one object for each device, so that tensors of
// one session are known to lie where another one works.
[[nodiscard]] DeviceRef device_for(const SessionOptions& options) {
  if (options.providers.empty() || options.providers.front() != kCuda) return host();
  static std::mutex mutex;
  static std::weak_ptr<Device> known;
  const std::lock_guard lock(mutex);
  DeviceRef device = known.lock();
  if (device == nullptr) {
    device = open_device("cuda:0", "Cuda", SessionOptions{.providers = {kCuda}});
    known = device;
  }
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
    call<abi::AllocatorFree>(rt, code, where, rt.allocator, name);

    const auto type = make<TypeSlot, TypePtr>(rt, code, where, session, i);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    call<abi::CastTypeInfoToTensorInfo>(rt, code, where, type.get(), &tensor);
    const std::string which = where + ": " + tensors[i].name;
    if (tensor == nullptr) throw Error(code, which + " is no tensor");
    abi::Enum element = 0;
    call<abi::GetTensorElementType>(rt, code, where, tensor, &element);
    tensors[i].type = static_cast<ElementType>(element);
    if (size_of(tensors[i].type) == 0) {
      throw Error(code, which + ": element type " + std::to_string(element) + " is not supported");
    }
    std::size_t rank = 0;
    call<abi::GetDimensionsCount>(rt, code, where, tensor, &rank);
    tensors[i].shape.resize(rank);
    call<abi::GetDimensions>(rt, code, where, tensor, tensors[i].shape.data(), rank);
  }
  return tensors;
}

// In the words of its allocators: that of the host, its arena, CUDA's.
bool tells_of_memory(const std::string& message) {
  constexpr std::string_view kWords[] = {"bad_alloc", "Failed to allocate memory", "out of memory",
                                         "bad allocation"};
  return std::ranges::any_of(kWords, [&message](std::string_view words) {
    return message.find(words) != std::string::npos;
  });
}

class OrtBinding final : public Binding {
 public:
  OrtBinding(const Runtime& rt, OrtSession* session, std::string where, bool synchronize)
      : rt_(rt),
        session_(session),
        where_(std::move(where)),
        synchronize_(synchronize),
        binding_(make<abi::CreateIoBinding, BindingPtr>(rt, kFailed, where_, session)) {}

  void bind_input(const std::string& name, const Tensor& tensor) override {
    bind_value<abi::BindInput>(name, tensor);
  }
  void bind_output(const std::string& name, const Tensor& tensor) override {
    bind_value<abi::BindOutput>(name, tensor);
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
      if (!options_) options_ = make<abi::CreateRunOptions, RunOptionsPtr>(rt_, kFailed, where_);
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
    const std::lock_guard lock(mutex_);
    running_ = false;
    if (status == nullptr) return;
    const std::string message = take_message(rt_.api, status);
    if (terminated_) throw Error(ErrorCode::kCancelled, where_ + ": terminated");
    if (tells_of_memory(message)) throw OutOfMemory(where_ + ": " + message);
    throw Error(kFailed, where_ + ": " + message);
  }

  void terminate() noexcept override {
    const std::lock_guard lock(mutex_);
    if (!running_) return;
    terminated_ = true;
    OrtStatus* status = function_in<abi::RunOptionsSetTerminate>(rt_.api)(options_.get());
    if (status != nullptr) function_in<abi::ReleaseStatus>(rt_.api)(status);
  }

 private:
  template <typename Slot>
  void bind_value(const std::string& name, const Tensor& tensor) {
    const Device& device = *tensor.device();
    const OrtMemoryInfo* info = device.is_host() ? rt_.cpu_memory : device.memory_info();
    if (info == nullptr) {
      throw Error(ErrorCode::kInternal, where_ + ": ONNX Runtime does not know the memory of " +
                                            device.name() + " (" + name + ")");
    }
    const std::string where = where_ + ": " + name;
    const ValuePtr value = wrap(rt_, info, tensor.data(), tensor.bytes(), tensor.shape(),
                                to_onnx(tensor.type()), where);
    call<Slot>(rt_, ErrorCode::kBadPack, where, binding_.get(), name.c_str(), value.get());
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
    session_ = make<abi::CreateSession, SessionPtr>(rt_, ErrorCode::kBadPack, where, rt_.env,
                                                    path.c_str(), made.get());
    inputs_ = read_tensors<abi::SessionGetInputCount, abi::SessionGetInputName,
                           abi::SessionGetInputTypeInfo>(rt_, session_.get(), where);
    outputs_ = read_tensors<abi::SessionGetOutputCount, abi::SessionGetOutputName,
                            abi::SessionGetOutputTypeInfo>(rt_, session_.get(), where);
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
