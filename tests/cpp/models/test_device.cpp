// The models on the fake device: exactly the copies that csrc/README.md states. Its bits are those
// of the CPU: test_decoder_random.cpp, and native_lanes of tests/cpp/engine.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <vector>

#include "models/decoder_fixture.h"
#include "models/image_fixture.h"
#include "models/vision.h"
#include "support/errors.h"
#include "support/fake_device.h"

using namespace irt;
using namespace irt::testing;
using irt::ErrorCode;

namespace {

using Counts = FakeDevice::Counts;

// What the device copies during a call.
template <typename Function>
Counts copies_of(Function&& function) {
  const Counts before = FakeDevice::get()->counts();
  function();
  const Counts after = FakeDevice::get()->counts();
  return {after.in - before.in, after.out - before.out, after.within - before.within};
}

}  // namespace

TEST_CASE("device: copies of a decoding step, of a chunk of a prompt, of an admission") {
  IRT_NEEDS_ORT();
  const DecoderConfig config = decoder_config(3, 4);
  BatchedDecoder decoder(graph_path("decoder.onnx"), config, fake_session());
  std::vector<TokenOut> out;
  const auto step = [&] { decoder.step(out); };
  // In: ids, positions, past_len, last_index. Out: the logits.
  const Counts numbers{4, 1, 0};
  CHECK(copies_of([&] { (void)decoder.admit(text_prompt({1, 2, 3, 4, 5, 6, 7})); }) == Counts{});
  CHECK(copies_of(step) == numbers);  // the first chunk
  CHECK(copies_of(step) == numbers);  // the second one
  CHECK(copies_of(step) == numbers);  // a token
  // A prompt that begins like another one takes over its rows: keys and values of every layer.
  const Counts rows{0, 0, 2 * config.layers};
  CHECK(copies_of([&] { (void)decoder.admit(text_prompt({1, 2, 3, 4, 5, 6, 9})); }) == rows);
  CHECK(copies_of(step) == Counts{8, 2, 0});  // one decodes, one is in its prompt: two runs
  CHECK(copies_of(step) == numbers);          // both decode

  // Pictures lie on the device already: embeddings and every level of deepstack.
  Prompt seen = text_prompt({8, kImageToken, 9});
  auto features = std::make_shared<VisionFeatures>(*image(1, 2, 1));
  features->embeds = features->embeds.on(FakeDevice::get());
  features->deepstack = features->deepstack.on(FakeDevice::get());
  seen.images = {features};
  (void)decoder.admit(seen);
  CHECK(copies_of(step) == Counts{8, 2, 1 + kDeepstack});
  CHECK(copies_of(step) == numbers);

  VisionEncoder vision(graph_path("vision_wide.onnx"), vision_config(kHidden), fake_session());
  // In: pixels and grid. The features stay.
  CHECK(copies_of([&] { (void)vision.encode(picture(1, 12, 8).view()); }) == Counts{2, 0, 0});
}

TEST_CASE("device: a cache that cannot be zeroed is zeroed before it is used again") {
  IRT_NEEDS_ORT();
  const DecoderConfig config = decoder_config(1, 4);
  const Prompt good = text_prompt({1, 2, 3, 4, 5, 6});
  const Answer expected = alone(good, config);
  BatchedDecoder decoder(graph_path("decoder.onnx"), config, fake_session());
  std::vector<TokenOut> out;
  const SequenceId poisoned = decoder.admit(text_prompt({3, kPoison, 3, 3, 3, 3, 3, 3, 3}));
  decoder.step(out);
  FakeDevice::get()->failures = 1;
  decoder.release(poisoned);  // in the middle of its prompt
  CHECK(FakeDevice::get()->failures == 0);
  CHECK(finish(decoder, decoder.admit(good)) == expected);
}

TEST_CASE("device: copies of a text, a picture, a denoising step, an image") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(), fake_session());
  ImageTask task;
  // In: ids and mask; pixels. The results stay.
  CHECK(copies_of([&] { task.text = text_of(*generator, 2); }) == Counts{2, 0, 0});
  CHECK(copies_of([&] { task.references = {generator->encode_image(picture(1, 12, 8).view())}; }) ==
        Counts{1, 0, 0});
  std::unique_ptr<GeneratorJob> first;
  // In: the noise.
  CHECK(copies_of([&] { first = generator->begin(task); }) == Counts{1, 0, 0});
  const auto second = generator->begin(task);
  GeneratorJob* const both[] = {first.get(), second.get()};
  generator->step(both);
  // In: the time steps. Within: the latents of each job. Text and references stay.
  CHECK(copies_of([&] { generator->step(both); }) == Counts{1, 0, 2});
  ImageTask guided = task;
  guided.negative = text_of(*generator, 1);
  guided.guidance = 2.5F;
  const auto third = generator->begin(guided);
  const auto fourth = generator->begin(guided);
  GeneratorJob* const pairs[] = {third.get(), fourth.get()};
  generator->step(pairs);
  // Twice, as the halves of a guidance pair are runs of their own.
  CHECK(copies_of([&] { generator->step(pairs); }) == Counts{2, 0, 4});
  finish(*generator, *first);
  // Out: the image. So the latents of a picture crossed once, as its noise.
  CHECK(copies_of([&] { (void)generator->decode(*first); }) == Counts{0, 1, 0});
}

TEST_CASE("device: the host that reads its memory dies of it") {
  const Tensor there(ElementType::kFloat32, {4}, FakeDevice::get());
  there.zero();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    (void)std::signal(SIGSEGV, SIG_DFL);  // not doctest's, which would report it
    (void)std::signal(SIGBUS, SIG_DFL);
    const volatile float value = *reinterpret_cast<const volatile float*>(there.data());
    _exit(value == 0.0F ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
}
