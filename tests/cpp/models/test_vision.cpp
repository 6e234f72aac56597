// The vision encoder over a graph whose output states what the runtime fed to it.
#include <doctest/doctest.h>

#include <algorithm>

#include "models/image_fixture.h"
#include "models/vision.h"
#include "support/errors.h"

using namespace irt;
using namespace irt::testing;
using irt::ErrorCode;

TEST_CASE("vision: features, deepstack and grid are the graph's") {
  IRT_NEEDS_ORT();
  VisionEncoder encoder(graph_path("vision.onnx"), vision_config(4), {});
  const PixelBuffer image = picture(11, 24, 16);
  for (int round = 0; round < 2; ++round) {  // the second time over reused buffers
    const VisionFeatures features = encoder.encode(image.view());
    CHECK(features.grid_height == 8);
    CHECK(features.grid_width == 12);
    REQUIRE(features.tokens == 24);
    CHECK(encoder.count_tokens({24, 16}) == 24);
    REQUIRE(features.embeds.size() == 96);
    REQUIRE(features.deepstack.size() == 96);
    const std::vector<float> embeds = values_of(features.embeds);
    const std::vector<float> deepstack = values_of(features.deepstack);
    for (std::size_t i = 0; i < 96; i += 4) {  // of vision.onnx: the grid, and a mean times 1 to 4
      const float* embed = &embeds[i];
      const float mean = embed[0] - 800.0F;
      CHECK(embed[1] - 12000.0F == doctest::Approx(2.0F * mean).epsilon(0.01));
      CHECK(embed[3] == doctest::Approx(4.0F * mean).epsilon(0.001));
      for (std::size_t c = 0; c < 4; ++c) {
        CHECK(deepstack[i + c] == 2.0F * embed[c]);
      }
    }
  }
}

TEST_CASE("vision: images are resized into the limits, which a call may lower") {
  IRT_NEEDS_ORT();
  VisionEncoder encoder(graph_path("vision.onnx"), vision_config(4), {});
  const PixelBuffer large = picture(12, 64, 48);  // 3072 pixels
  const VisionFeatures features = encoder.encode(large.view());
  const Size size = smart_resize({64, 48}, 4, 64, 1024);
  CHECK(features.grid_width * 2 == size.width);
  CHECK(features.grid_height * 2 == size.height);
  CHECK(size.width * size.height <= 1024);
  const PixelBuffer resized = resize(large.view(), size.width, size.height);
  CHECK(values_of(features.embeds) == values_of(encoder.encode(resized.view()).embeds));

  const VisionFeatures lower = encoder.encode(large.view(), 256);
  CHECK(lower.grid_width * lower.grid_height * 4 <= 256);
  CHECK(lower.tokens == encoder.count_tokens({64, 48}, 256));
  CHECK(lower.tokens < features.tokens);
  // A limit below min_pixels wins over it.
  CHECK(encoder.encode(large.view(), 16).tokens == 1);
}

TEST_CASE("vision: errors name the file and what is wrong") {
  IRT_NEEDS_ORT();
  const std::string path = graph_path("vision.onnx");
  VisionEncoder encoder(path, vision_config(4), {});
  CHECK_THROWS_WITH_AS((void)encoder.encode(ImageView{}), doctest::Contains("0x0"), Error);
  const auto refused = [&](auto change, const std::string& file, const char* text) {
    VisionConfig config = vision_config(4);
    change(config);
    check_throws(ErrorCode::kBadPack, [&] { VisionEncoder bad(file, config, {}); }, file, text);
  };
  refused([](VisionConfig& c) { c.patch_size = 4; }, path, "`pixel_values` is float32 [?, 24]");
  refused([](VisionConfig& c) { c.hidden = 8; }, path, "`embeds`");
  refused([](VisionConfig& c) { c.deepstack_levels = 3; }, path, "`deepstack`");
  refused([](VisionConfig& c) { c.merge_size = 1; }, path, "1x1 patches do not become one token");
  refused([](VisionConfig& c) { c.merge_size = 4; }, path, "4x4 patches do not become one token");
  refused([](VisionConfig& c) { c.std = {0.5F, 0.0F, 0.5F}; }, path, "image_std");
  refused([](VisionConfig& c) { c.max_pixels = 1; }, path, "min_pixels");
  refused([](VisionConfig&) {}, graph_path("text_encoder.onnx"), "`pixel_values` is missing");
  refused([](VisionConfig&) {}, graph_path("nowhere.onnx"), "nowhere.onnx");
}
