// Pixels and preprocessing against the libraries that models were trained with; the hashes are
// those of make_image_golden.py. (Live, in tests/python/test_native_parity.py: bicubic,
// smart_resize, sigmas, noise.)
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "models/flow.h"
#include "models/image_fixture.h"
#include "models/pixels.h"
#include "models/qwen3_vl.h"

using namespace irt;
using irt::testing::hash_floats;
using irt::testing::picture;

TEST_CASE("resize is Pillow's, bit for bit") {
  struct Case {
    int width, height, to_width, to_height;
    std::uint64_t hash;
  };
  const Case cases[] = {
      {17, 31, 40, 9, 0x31f1c3a6479e8c3bULL},  {97, 61, 53, 47, 0x77a4a5c80f3cb6f1ULL},
      {1, 1, 5, 3, 0xfc8137c9efb564c1ULL},     {40, 30, 1, 1, 0xb8fa95154518ae81ULL},
      {50, 20, 50, 33, 0xeee437d89069c065ULL}, {20, 50, 7, 50, 0x381dfa0f679cbaeeULL}};
  for (const Case& want : cases) {
    CAPTURE(want.width);
    const PixelBuffer source =
        picture(static_cast<std::uint64_t>(want.width), want.width, want.height);
    const PixelBuffer made = resize(source.view(), want.to_width, want.to_height, Filter::kLanczos);
    CHECK(hash_pixels(made.view()) == want.hash);
  }
}

TEST_CASE("resize keeps a flat colour and copies at the same size") {
  const PixelBuffer white = white_image(37, 11);
  CHECK(std::ranges::all_of(white.data, [](std::uint8_t v) { return v == 255; }));
  const PixelBuffer large = resize(white.view(), 90, 64);
  CHECK(std::ranges::all_of(large.data, [](std::uint8_t v) { return v == 255; }));
  const PixelBuffer source = picture(3, 20, 10);
  CHECK(resize(source.view(), 20, 10).data == source.data);
  CHECK_THROWS_AS((void)resize(source.view(), 0, 10), Error);
  CHECK_THROWS_AS((void)resize(source.view(), 10, -1), Error);
  CHECK_THROWS_AS((void)resize(ImageView{}, 10, 10), Error);
}

TEST_CASE("crop takes the middle, rounded to the top left") {
  const PixelBuffer source = picture(4, 7, 5);
  const PixelBuffer made = crop_center(source.view(), 4, 2);  // left 1, top 1
  for (std::size_t y = 0; y < 2; ++y) {
    for (std::size_t x = 0; x < 12; ++x) {
      CHECK(made.data[y * 12 + x] == source.data[(y + 1) * 21 + 3 + x]);
    }
  }
  CHECK_THROWS_AS((void)crop_center(source.view(), 8, 2), Error);
}

TEST_CASE("the hash sees size, order and every byte") {
  PixelBuffer source = picture(5, 13, 7);  // 273 bytes: whole groups, single words and a rest
  const std::uint64_t hash = hash_pixels(source.view());
  CHECK(hash == hash_pixels(picture(5, 13, 7).view()));
  CHECK(hash != hash_pixels(ImageView{source.data.data(), 7, 13}));
  for (std::size_t i = 0; i < source.data.size(); ++i) {
    source.data[i] ^= 1;
    CHECK(hash_pixels(source.view()) != hash);
    source.data[i] ^= 1;
  }
  std::swap_ranges(source.data.begin(), source.data.begin() + 8, source.data.begin() + 8);
  CHECK(hash_pixels(source.view()) != hash);
  CHECK(hash_pixels(ImageView{}) != 0);
}

TEST_CASE("planar floats are VaeImageProcessor's and come back") {
  const PixelBuffer source = picture(7, 32, 24);
  std::vector<float> planar(source.view().bytes());
  to_planar(source.view(), planar);
  CHECK(hash_floats(planar, 4 * 32, 24) == 0xdb31ab693041f18dULL);
  std::vector<std::uint8_t> back(source.data.size());
  from_planar(planar, 32, 24, back.data());
  CHECK(back == source.data);
}

TEST_CASE("planar floats are clamped and rounded half to even") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // 0.5 / 255 and 1.5 / 255 cannot be met exactly; 127.5 is where both halves are exact.
  const std::array<float, 12> planar{-1.0F, -7.0F, nan,  1.0F,  0.0F,   3.0F,
                                     -0.5F, 0.5F,  0.2F, -0.2F, 0.999F, -0.999F};
  std::array<std::uint8_t, 12> out{};
  from_planar(planar, 2, 2, out.data());
  const std::array<std::uint8_t, 12> want{0, 128, 153, 0, 255, 102, 0, 64, 255, 255, 191, 0};
  CHECK(out == want);
}

TEST_CASE("smart_resize refuses what transformers refuses") {
  CHECK_NOTHROW((void)smart_resize({200, 1}, 16, 256, 1024));
  for (const Size bad : {Size{201, 1}, Size{1, 201}, Size{0, 10}, Size{10, -1}}) {
    CHECK_THROWS_WITH_AS((void)smart_resize(bad, 16, 256, 1024),
                         doctest::Contains("aspect ratio at most 200"), Error);
  }
}

TEST_CASE("patches are Qwen2VLImageProcessorPil's, bit for bit") {
  struct Case {
    int patch, width, height;
    bool clip;
    std::uint64_t hash;
  };
  const Case cases[] = {{8, 48, 48, false, 0x09a6738804dd6c6fULL},
                        {8, 32, 80, true, 0xd6e7fa59ad0c0e5eULL},
                        {14, 56, 28, true, 0xce3398bf131db841ULL},
                        {16, 32, 64, false, 0x88413be6c2199cafULL}};
  for (const Case& want : cases) {
    CAPTURE(want.patch);
    VisionConfig config;
    config.patch_size = want.patch;
    if (want.clip) {
      config.mean = {0.48145466F, 0.4578275F, 0.40821073F};
      config.std = {0.26862954F, 0.26130258F, 0.27577711F};
    }
    const PixelBuffer source =
        picture(static_cast<std::uint64_t>(want.height), want.width, want.height);
    std::vector<float> out(source.view().bytes() * 2);
    patchify(source.view(), config, out);
    CHECK(hash_floats(out, 8 * want.width, want.height) == want.hash);
  }
}

TEST_CASE("a schedule without steps or tokens is refused") {
  CHECK_THROWS_AS((void)flow_sigmas(0, 9), Error);
  CHECK_THROWS_AS((void)flow_sigmas(1001, 9), Error);
  CHECK_THROWS_AS((void)flow_sigmas(4, 0), Error);
}

TEST_CASE("noise is a function of seed and index") {
  std::vector<float> noise(200);
  gaussian_noise(5, noise);
  std::vector<float> odd(101);
  gaussian_noise(5, odd);
  CHECK(std::equal(odd.begin(), odd.end(), noise.begin()));
  gaussian_noise(6, odd);
  CHECK_FALSE(std::equal(odd.begin(), odd.end(), noise.begin()));
}
