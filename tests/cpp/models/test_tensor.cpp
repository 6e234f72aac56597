// Tensors, sessions and bindings: on the CPU, on the fake device, and where a provider is added.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/ort_fixture.h"
#include "support/errors.h"
#include "support/fake_device.h"
#include "tensor/runtime.h"

using namespace irt;
using namespace irt::testing;
using irt::ErrorCode;

namespace {

std::string broken() { return graph_path("broken.onnx"); }  // y = x, for one row of four

}  // namespace

TEST_CASE("tensor: views share memory, copies cross devices, and misuse is an error") {
  const DeviceRef devices[] = {host(), FakeDevice::get()};
  for (const DeviceRef& device : devices) {
    CAPTURE(device->name());
    const int blocks = FakeDevice::get()->blocks;
    {
      const Tensor source = Tensor::of<float>({1, 2, 3, 4, 5, 6}, {3, 2});
      const Tensor tensor = source.on(device);
      CHECK(tensor.bytes() == 24);
      const Tensor row = tensor.rows(1, 1);
      CHECK(row.shape() == Shape{1, 2});
      CHECK(values_of(row) == std::vector<float>{3, 4});
      row.zero();
      CHECK(values_of(tensor) == std::vector<float>{1, 2, 0, 0, 5, 6});
      tensor.rows(0, 1).copy_from(tensor.rows(2, 1));
      CHECK(values_of(tensor.view(1, {3})) == std::vector<float>{6, 0, 0});
      tensor.read_from(source.data(), source.bytes());
      CHECK(values_of(tensor) == values_of(source));
      CHECK(tensor.on(device).data() == tensor.data());
    }
    CHECK(FakeDevice::get()->blocks == blocks);
  }
  const Tensor half(ElementType::kFloat16, {2, 3}, FakeDevice::get());
  CHECK(half.bytes() == 12);
  CHECK(half.rows(1, 1).bytes() == 6);
  half.zero();
  CHECK_FALSE(Tensor());
  const Tensor there(ElementType::kFloat32, {2}, FakeDevice::get());
  std::array<float, 3> memory{};
  const auto misused = [](auto&& call, const char* text) {
    check_throws(ErrorCode::kInternal, call, text);
  };
  misused([&] { (void)there.as<float>(); }, "fake:0");
  misused([&] { (void)Tensor::of<float>({1}, {1}).as<std::int64_t>(); }, "int64");
  misused([&] { (void)there.view(1, {2}); }, "outside");
  misused([&] { (void)Tensor(ElementType::kFloat32, {}).rows(0, 1); }, "scalar");
  misused([&] { (void)Tensor::over(std::span(memory), {4}); }, "smaller");
  misused([&] { (void)Tensor::of<float>({1, 2}, {3}); }, "disagree");
  misused([&] { there.copy_from(Tensor::of<float>({1}, {1})); }, "different size");
}

TEST_CASE(
    "tensor: rows are scaled to the lengths of others, and sums made, alike on every device") {
  IRT_NEEDS_ORT();
  std::vector<float> rows(7 * 48);
  std::vector<float> like(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = std::sin(static_cast<float>(i)) * static_cast<float>(1 + i / 48);
    like[i] = std::cos(static_cast<float>(3 * i)) / static_cast<float>(1 + i % 5);
  }
  const auto made = [&](const DeviceRef& device) {
    const Tensor there = Tensor::of(rows, {7, 48}).on(device);
    const Tensor wanted = Tensor::of(like, {7, 48}).on(device);
    const Tensor sum(ElementType::kFloat32, {7, 48}, device);
    sum.add_scaled(there, 0.3F, wanted);
    // Of a tensor of its own: on the host `on` copies nothing.
    const Tensor scaled(ElementType::kFloat32, {7, 48}, device);
    scaled.copy_from(there);
    scaled.rescale(wanted);
    return std::pair(values_of(sum), values_of(scaled));
  };
  const auto expected = made(host());
  for (std::size_t row = 0; row < 7; ++row) {
    double wanted = 0;
    double found = 0;
    for (std::size_t i = 48 * row; i < 48 * (row + 1); ++i) {
      wanted += std::pow(like[i], 2);
      found += std::pow(expected.second[i], 2);
    }
    CHECK(std::sqrt(found) == doctest::Approx(std::sqrt(wanted)).epsilon(1e-6));
  }
  CHECK(made(FakeDevice::get()) == expected);
  // The graphs with which a provider's memory is worked on, by the provider that is always there.
  CHECK(made(open_device("cpu:graphs", "Cpu", {})) == expected);

  const Tensor one = Tensor::of<float>({3, 4}, {1, 2});
  for (const Tensor& other : {Tensor::of<float>({3, 4}, {2, 1}), one.on(FakeDevice::get()),
                              Tensor::of<std::int64_t>({3, 4}, {1, 2}), Tensor()}) {
    check_throws(ErrorCode::kInternal, [&] { one.rescale(other); }, "rescaled");
  }
}

TEST_CASE("the library is loaded once, and says what it is") {
  IRT_NEEDS_ORT();
  CHECK(runtime_or_null() != nullptr);
  CHECK(runtime_version().find('.') != std::string::npos);
  const std::vector<std::string> providers = available_providers();
  CHECK(std::find(providers.begin(), providers.end(), "CPUExecutionProvider") != providers.end());
  check_throws(ErrorCode::kBackendFailed, [] { load_runtime(0x10); }, "another ONNX Runtime");
}

TEST_CASE("a session that cannot be made says why") {
  IRT_NEEDS_ORT();
  const auto refused = [](ErrorCode code, const std::string& path, const SessionOptions& options,
                          const auto&... texts) {
    check_throws(code, [&] { Session(path, options); }, texts...);
  };
  refused(ErrorCode::kBadPack, "/nowhere/decoder.onnx", {}, "/nowhere/decoder.onnx");
  const std::string no_graph = graph_path("decoder_reference.txt");
  refused(ErrorCode::kBadPack, no_graph, {}, no_graph);
  SessionOptions options;
  options.providers = {"AbacusExecutionProvider", "CPUExecutionProvider"};
  refused(ErrorCode::kBackendFailed, broken(), options, "has no AbacusExecutionProvider",
          "CPUExecutionProvider");
}

TEST_CASE("a session knows its inputs and outputs, and holds them against a contract") {
  IRT_NEEDS_ORT();
  const Session session(graph_path("decoder.onnx"), {});
  REQUIRE(session.inputs().size() == 10);
  CHECK(session.inputs()[0].name == "input_ids");
  CHECK(session.input("input_ids")->type == ElementType::kInt64);
  CHECK(session.input("position_ids")->shape == Shape{3, -1, -1});
  CHECK(session.output("logits")->shape == Shape{-1, -1, 96});
  CHECK(session.device() == host());
  session.require_input("position_ids", ElementType::kInt64, {3, kAny, kAny});
  session.require_output("logits", ElementType::kFloat32, {2, 3, 96});  // two are open
  const auto refused = [&](const char* name, ElementType type, const Shape& shape,
                           const char* text) {
    check_throws(
        ErrorCode::kBadPack, [&] { session.require_input(name, type, shape); }, "decoder.onnx",
        text);
  };
  refused("present_v.1", ElementType::kFloat32, {}, "`present_v.1` is missing");
  refused("past_len", ElementType::kInt32, {kAny}, "int64 [?]");
  refused("past_len", ElementType::kInt64, {kAny, kAny}, "int64 [?, ?]");
  refused("position_ids", ElementType::kInt64, {2, kAny, kAny}, "int64 [2, ?, ?]");
}

TEST_CASE("a run reads what the tensors hold when it runs, on every device") {
  IRT_NEEDS_ORT();
  const std::array<SessionOptions, 3> every{SessionOptions{}, fake_session(), fake_session(true)};
  for (const SessionOptions& options : every) {
    const Session session(broken(), options);
    CAPTURE(session.device()->name());
    const DeviceRef places[] = {host(), session.device()};
    for (const DeviceRef& place : places) {
      std::array<float, 4> in{1, 2, 3, 4};
      const Tensor x = Tensor::over(std::span(in), {1, 4}).on(place);
      const Tensor y(ElementType::kFloat32, {1, 4}, place);
      Run run(session);
      run.bind_input("x", x);
      run.bind_output("y", y);
      run.run();
      CHECK(values_of(y) == std::vector<float>{1, 2, 3, 4});
      in[0] = -1;
      x.read_from(in.data(), sizeof in);
      run.run();
      CHECK(values_of(y)[0] == -1);
      const Tensor two(ElementType::kFloat32, {2, 4}, place);
      two.zero();
      check_throws(
          ErrorCode::kBackendFailed,
          [&] {
            run.bind_input("x", two);
            run.run();
          },
          "broken.onnx");
      run.terminate();  // no run in progress: nothing happens
      run.bind_input("x", x);
      run.run();
      CHECK(values_of(y)[3] == 4);
      check_throws(ErrorCode::kBadPack, [&] { run.bind_input("z", x); }, "no input `z`");
      check_throws(ErrorCode::kBadPack, [&] { run.bind_output("z", x); }, "no output `z`");
      check_throws(ErrorCode::kInternal, [&] { run.bind_input("x", Tensor()); }, "empty");
      run.clear_bindings();
      check_throws(ErrorCode::kBackendFailed, [&] { run.run(); });
    }
  }
}

TEST_CASE("the fake device is as unforgiving as a real one") {
  IRT_NEEDS_ORT();
  add_fake_provider();
  const Session session(broken(), {});
  Run run(session);
  const Tensor there(ElementType::kFloat32, {1, 4}, FakeDevice::get());
  check_throws(ErrorCode::kInternal, [&] { run.bind_input("x", there); }, "fake:0");

  // Bound once and then changed, a host input is stale: what `Run` is there to prevent.
  const std::unique_ptr<Graph> graph = open_graph(broken(), fake_session());
  const std::unique_ptr<Binding> binding = graph->bind();
  const Tensor x = Tensor::of<float>({1, 2, 3, 4}, {1, 4});
  const Tensor y(ElementType::kFloat32, {1, 4});
  binding->bind_input("x", x);
  binding->bind_output("y", y);
  x.as<float>()[0] = 9;
  binding->run();
  CHECK(values_of(y)[0] == 1);
}

TEST_CASE("a provider is added by one call, and taken away by another") {
  IRT_NEEDS_ORT();
  SessionOptions options;
  options.providers = {"Mine"};
  add_provider("Mine", [](const std::string&, const SessionOptions&) {
    return open_graph(broken(), fake_session());
  });
  CHECK(Session("none", options).device() == FakeDevice::get());
  add_provider("Mine", nullptr);
  CHECK_THROWS_AS(Session("none", options), Error);
}
