// The models on the fake device: the bits of the CPU, and exactly the copies that csrc/README.md
// states.
#include <doctest/doctest.h>

#include <array>
#include <thread>
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

VisionConfig vision_config() {
  VisionConfig config;
  config.patch_size = 2;
  config.min_pixels = 64;
  config.max_pixels = 1024;
  config.hidden = kHidden;
  config.deepstack_levels = kDeepstack;
  return config;
}

// Answers of a decoder with pictures, reuse, compaction and two graphs on the way.
std::vector<Answer> answers_on(const SessionOptions& options, bool fused) {
  DecoderConfig config = decoder_config(3, 4);
  if (fused) config = with_decode_graph(config);
  BatchedDecoder decoder(graph_path("decoder.onnx"), config, options);
  VisionEncoder vision(graph_path("vision_wide.onnx"), vision_config(), options);
  std::vector<std::shared_ptr<const VisionFeatures>> pictures;
  for (int i = 0; i < 2; ++i) {
    pictures.push_back(std::make_shared<const VisionFeatures>(
        vision.encode(picture(static_cast<std::uint64_t>(i), 12, 8).view())));
  }
  std::vector<Prompt> prompts;
  for (std::int64_t i = 0; i < 9; ++i) {
    Prompt prompt =
        text_prompt({1, 2, 3 + i % 2, kImageToken, 10 + i, 20}, 4 + static_cast<int>(i));
    prompt.images = {pictures[static_cast<std::size_t>(i % 2)]};
    prompt.sampling.temperature = i % 3 == 0 ? 0.0F : 1.0F;
    prompt.sampling.seed = static_cast<std::uint64_t>(i);
    prompts.push_back(std::move(prompt));
  }
  std::vector<Answer> answers(prompts.size());
  std::vector<TokenOut> out;
  std::size_t next = 0;
  std::size_t ended = 0;
  SequenceId first = 0;
  while (ended < prompts.size()) {
    while (next < prompts.size() && decoder.free_slots() > 0) {
      const SequenceId id = decoder.admit(prompts[next++]);
      if (first == 0) first = id;
    }
    decoder.step(out);
    for (const TokenOut& token : out) {
      answers[token.sequence - first].add(token);
      if (token.stop == StopReason::kNone) continue;
      decoder.release(token.sequence);
      ++ended;
    }
  }
  CHECK(decoder.counters().reused_tokens > 0);
  CHECK(decoder.counters().moved_rows + decoder.counters().copied_rows > 0);
  return answers;
}

}  // namespace

TEST_CASE("device: a decoder answers as on the CPU, bit for bit") {
  IRT_NEEDS_ORT();
  const int blocks = FakeDevice::get()->blocks;
  for (const bool fused : {false, true}) {
    const std::vector<Answer> here = answers_on({}, fused);
    CHECK(answers_on(fake_session(), fused) == here);
    // Also where the nodes that read the cache run on the host.
    CHECK(answers_on(fake_session(true), fused) == here);
  }
  CHECK(FakeDevice::get()->blocks == blocks);
}

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

  VisionEncoder vision(graph_path("vision_wide.onnx"), vision_config(), fake_session());
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

TEST_CASE("device: images are those of the CPU, and a denoising step copies what changed") {
  IRT_NEEDS_ORT();
  const auto made_on = [](const SessionOptions& options) {
    const auto generator = make_generator(small_generator(), options);
    std::vector<std::unique_ptr<GeneratorJob>> jobs;
    const auto reference = generator->encode_image(picture(1, 12, 8).view());
    for (int i = 0; i < 3; ++i) {
      ImageTask task;
      task.text = text_of(*generator, 1 + i);
      task.seed = static_cast<std::uint64_t>(i);
      if (i > 0) task.references = {reference};
      jobs.push_back(generator->begin(task));
    }
    while (!jobs[0]->finished()) {
      std::vector<GeneratorJob*> all;
      for (const auto& job : jobs) all.push_back(job.get());
      generator->step(all);
    }
    std::vector<std::vector<std::uint8_t>> images;
    for (const auto& job : jobs) images.push_back(generator->decode(*job).data);
    return images;
  };
  const auto here = made_on({});
  CHECK(here[0] != here[1]);
  CHECK(made_on(fake_session()) == here);
  CHECK(made_on(fake_session(true)) == here);

  const auto generator = make_generator(small_generator(), fake_session());
  ImageTask task;
  // In: ids and mask; pixels. The results stay.
  CHECK(copies_of([&] { task.text = text_of(*generator, 2); }) == Counts{2, 0, 0});
  CHECK(copies_of([&] { task.references = {generator->encode_image(picture(1, 12, 8).view())}; }) ==
        Counts{1, 0, 0});
  const auto first = generator->begin(task);
  const auto second = generator->begin(task);
  GeneratorJob* const both[] = {first.get(), second.get()};
  generator->step(both);
  // In: the latents of each job, the time steps. Out: the velocities. Text and references stay.
  CHECK(copies_of([&] { generator->step(both); }) == Counts{3, 1, 0});
  finish(*generator, *first);
  // In: the latents. Out: the image.
  CHECK(copies_of([&] { (void)generator->decode(*first); }) == Counts{1, 1, 0});
}
