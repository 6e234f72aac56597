// Qwen-Image-Edit over graphs that state what the runtime fed to them; that its pictures are those
// of the library: tests/export/test_qwen_edit.py.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "models/flow.h"
#include "models/image_fixture.h"
#include "models/vision.h"
#include "support/errors.h"
#include "support/fake_device.h"

using namespace irt;
using namespace irt::testing;
using irt::ErrorCode;

namespace {

constexpr std::int64_t kMark = 3;

GeneratorConfig qwen_generator() {
  GeneratorConfig config = small_generator(2);
  config.family = "qwen_image";
  config.parts.push_back({"vision", graph_path("qwen_vision.onnx")});
  for (const char* name : {"text_encoder", "transformer"}) {
    part_of(config, name) = graph_path("qwen_" + std::string(name) + ".onnx");
  }
  config.vision = vision_config(6);
  config.vision.deepstack_levels = 0;
  config.image_token_id = kMark;
  config.prompt_skip = 1;
  config.seen_area = config.encoded_area = 32 * 32;
  config.between_pictures = {{9, 8}};
  config.rescale_guidance = true;
  return config;
}

ConditioningRef read(Generator& generator, std::int64_t word,
                     const std::vector<PixelBuffer>& pictures) {
  std::vector<ImageView> views;
  for (const PixelBuffer& one : pictures) views.push_back(one.view());
  return generator.encode_text(std::vector<std::int64_t>{5, kMark, word, 0, 0},
                               std::vector<std::int64_t>{1, 1, 1, 0, 0}, views);
}

std::vector<float> values(const ConditioningRef& text) {
  return values_of(dynamic_cast<const FlowText&>(*text).data);
}

}  // namespace

TEST_CASE("qwen_image: a prompt is read with its pictures, each at its place") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(qwen_generator(), {});
  CHECK(generator->text_reads_images());
  const std::vector<PixelBuffer> pictures{picture(1, 40, 40), picture(2, 33, 30)};
  const std::vector<float> text = values(read(*generator, 7, pictures));
  // 8 x 8 features a picture, two words between them, one behind them.
  REQUIRE(text.size() == (64 + 2 + 64 + 1) * 6);
  VisionConfig eyes = qwen_generator().vision;
  VisionEncoder vision(graph_path("qwen_vision.onnx"), eyes, {});
  const VisionFeatures last =
      vision.encode(resize(pictures[1].view(), 32, 32, Filter::kLanczos).view());
  const double seen = values_of(last.embeds).back();
  const auto at = [&](std::size_t token) {
    return static_cast<double>(text[token * 6 + 5]) - seen;
  };
  const auto near = [](double value) { return doctest::Approx(value).epsilon(1e-5); };
  CHECK(at(0) == near(111 * 1 + 0.003));                // the first one starts behind word 0
  CHECK(at(63) == near(100 * 1 + 10 * 8 + 8 + 0.003));  // its last row and column
  CHECK(at(64) == near(111 * 9 + 0.009));               // behind its longer side
  CHECK(at(65) == near(111 * 10 + 0.008));
  CHECK(at(66) == near(111 * 11 + 0.003));
  CHECK(at(66 + 9) == near(100 * 11 + 10 * 12 + 12 + 0.003));
  CHECK(at(130) == near(111 * 19 + 0.007));
  // The same pictures, kept or not.
  CHECK(values(read(*generator, 7, pictures)) == text);
  CHECK(values(read(*generator, 7, {pictures[1], pictures[0]})) != text);
}

TEST_CASE("qwen_image: what stands for no source, and what is refused") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(qwen_generator(), {});
  const PixelBuffer blank = generator->blank(0, 20).value();
  CHECK(blank.width == 12);
  CHECK(blank.height == 20);
  CHECK(std::ranges::all_of(blank.data, [](auto level) { return level == 255; }));
  const PixelBuffer good = picture(1, 32, 32);
  const auto refused = [](auto work, const char* text) {
    check_throws(ErrorCode::kBadRequest, work, text);
  };
  refused([&] { (void)read(*generator, 7, {}); }, "takes 1 to 2");
  refused([&] { (void)read(*generator, 7, {good, good, good}); }, "takes 1 to 2");
  refused([&] { (void)read(*generator, 7, {picture(1, 64, 4)}); }, "too narrow");
  refused([&] { (void)generator->encode_image(picture(1, 4, 64).view()); }, "too narrow");
  const std::vector<std::int64_t> ids{5, 6, 7, 0, 0};
  const ImageView view = good.view();
  refused(
      [&] {
        (void)generator->encode_text(ids, std::vector<std::int64_t>{1, 1, 1, 0, 0}, {&view, 1});
      },
      "no place for a picture");
  refused([&] { (void)generator->encode_text(ids, std::vector<std::int64_t>{1}, {&view, 1}); },
          "pad both");
  GeneratorConfig config = qwen_generator();
  config.prompt_skip = kTextLength;
  check_throws(ErrorCode::kBadPack, [&] { (void)make_generator(config, {}); }, "conditioning");
}

TEST_CASE("qwen_image: a guided step keeps the length of every token, and what it copies") {
  IRT_NEEDS_ORT();
  const auto started = [](Generator& generator) {
    ImageTask task;
    const std::vector<PixelBuffer> pictures{picture(1, 40, 40), picture(2, 32, 30)};
    task.text = read(generator, 7, pictures);
    task.negative = read(generator, 4, pictures);
    task.guidance = 3.0F;
    for (const PixelBuffer& one : pictures)
      task.references.push_back(generator.encode_image(one.view()));
    task.steps = 3;
    auto job = generator.begin(task);
    return std::unique_ptr<FlowJob>(&dynamic_cast<FlowJob&>(*job.release()));
  };
  const auto generator = make_generator(qwen_generator(), {});
  const auto job = started(*generator);
  CHECK(job->rows == 8);  // of its last source
  CHECK(job->columns == 8);
  const std::vector<float> before = values_of(job->latents);
  GeneratorJob* const jobs[] = {job.get()};
  generator->step(jobs);
  const std::vector<float> after = values_of(job->latents);

  // Of the graph: half of the token, the last one of the sources, the time, the third word times
  // its place, places of the token and of that last one.
  const std::vector<float> end = values_of(job->references[1]->data);
  const auto word = [](const FlowText& text) { return values_of(text.data)[2 * 6 + 4]; };
  const double delta = static_cast<double>(job->sigmas[1]) - job->sigmas[0];
  const double end_place = 2 + 0.1 * 3 + 0.01 * 3;
  for (std::size_t token = 0; token < 64; token += 21) {
    const double place =
        0.1 * (static_cast<double>(token / 8) - 4) + 0.01 * (static_cast<double>(token % 8) - 4);
    const auto velocity = [&](std::size_t channel, const FlowText& text) {
      return 0.5 * before[token * 48 + channel] + end[end.size() - 48 + channel] + job->sigmas[0] +
             static_cast<double>(word(text)) * 0.3 * 6 + place + end_place;
    };
    double wanted = 0;
    double guided = 0;
    const auto away = [&](std::size_t i) {
      const double negative = velocity(i, *job->negative);
      return negative + 3.0 * (velocity(i, *job->text) - negative);
    };
    for (std::size_t i = 0; i < 48; ++i) {
      wanted += std::pow(velocity(i, *job->text), 2);
      guided += std::pow(away(i), 2);
    }
    for (std::size_t i = 0; i < 48; ++i) {
      const double expected = before[token * 48 + i] + delta * away(i) * std::sqrt(wanted / guided);
      REQUIRE(after[token * 48 + i] == doctest::Approx(expected).epsilon(1e-4));
    }
  }

  if (std::getenv("IRT_GUARDED") != nullptr) return;  // that one is on the device as well
  const auto there = make_generator(qwen_generator(), fake_session());
  const auto same = started(*there);
  GeneratorJob* const device[] = {same.get()};
  there->step(device);
  CHECK(values_of(same->latents) == after);
  const FakeDevice::Counts first = FakeDevice::get()->counts();
  there->step(device);
  const FakeDevice::Counts then = FakeDevice::get()->counts();
  CHECK(then.in - first.in == 2);  // the time steps of both halves
  CHECK(then.out == first.out);
  CHECK(then.within - first.within == 2);
}
