// The denoiser over graphs that state what the runtime fed to them, and over the embedded pack.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <thread>

#include "core/error.h"
#include "models/denoiser.h"
#include "models/image_fixture.h"
#include "models/ort_fixture.h"

using namespace irt;
using namespace irt;
using irt::testing::graph_path;
using irt::testing::picture;

namespace {

GeneratorConfig small_config(int max_batch = 4) {
  GeneratorConfig config;
  config.text_encoder = graph_path("text_encoder.onnx");
  config.transformer = graph_path("transformer.onnx");
  config.vae_encoder = graph_path("vae_encoder.onnx");
  config.vae_decoder = graph_path("vae_decoder.onnx");
  config.latent_channels = 48;
  config.text_dim = 6;
  config.max_sequence_length = 5;
  config.token_pixels = 4;
  config.default_width = 12;
  config.default_height = 8;
  config.max_batch = max_batch;
  return config;
}

#ifdef IRT_EMBEDDED_PACK
GeneratorConfig embedded_config(int max_batch) {
  const std::string folder = std::string(IRT_EMBEDDED_PACK) + "/generator/";
  GeneratorConfig config = small_config(max_batch);
  config.text_encoder = folder + "text_encoder.onnx";
  config.transformer = folder + "transformer.onnx";
  config.vae_encoder = folder + "vae_encoder.onnx";
  config.vae_decoder = folder + "vae_decoder.onnx";
  config.latent_channels = 32;
  config.text_dim = 256;
  config.max_sequence_length = 32;
  config.token_pixels = 16;
  config.default_width = config.default_height = 48;
  return config;
}
#endif

std::shared_ptr<const TextEmbedding> text_of(Denoiser& denoiser, std::size_t length, int words) {
  std::vector<std::int64_t> ids(length, 0);
  std::vector<std::int64_t> mask(length, 0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(words); ++i) {
    ids[i] = static_cast<std::int64_t>(10 + 3 * i) + words;
    mask[i] = 1;
  }
  return std::make_shared<const TextEmbedding>(denoiser.encode_text(ids, mask));
}

std::shared_ptr<const Latents> reference_of(Denoiser& denoiser, const PixelBuffer& image) {
  return std::make_shared<const Latents>(denoiser.encode_image(image.view()));
}

void finish(Denoiser& denoiser, DenoiseJob& job) {
  DenoiseJob* const jobs[] = {&job};
  while (!job.finished()) denoiser.step(jobs);
}

// What transformer.onnx computes for one job, and one Euler step on it, in double.
std::vector<double> stepped(const DenoiseJob& job, std::span<const double> latents, int step) {
  constexpr std::size_t kChannels = 48;
  std::vector<double> all(latents.begin(), latents.end());
  if (job.reference) all.insert(all.end(), job.reference->data.begin(), job.reference->data.end());
  const std::span<const double> end = std::span(all).last(kChannels);
  const double end_place =
      job.reference ? 10.0 + 0.1 * (job.reference->rows - 1) + 0.01 * (job.reference->columns - 1)
                    : 0.1 * (job.rows - 1) + 0.01 * (job.columns - 1);
  const double text = 2.0 * static_cast<double>(job.text->data[2 * 6 + 4]);
  const auto at = static_cast<std::size_t>(step);
  const double sigma = job.sigmas[at];
  const double delta = static_cast<double>(job.sigmas[at + 1]) - sigma;
  std::vector<double> out(latents.size());
  for (std::size_t i = 0; i < latents.size(); ++i) {
    const std::size_t token = i / kChannels;
    const auto columns = static_cast<std::size_t>(job.columns);
    const double place =
        0.1 * static_cast<double>(token / columns) + 0.01 * static_cast<double>(token % columns);
    out[i] = latents[i] +
             delta * (latents[i] / 2 + end[i % kChannels] + sigma + text + place + end_place);
  }
  return out;
}

void check_run(Denoiser& denoiser, DenoiseJob job) {
  std::vector<double> want(job.latents.begin(), job.latents.end());
  const int steps = static_cast<int>(job.sigmas.size()) - 1;
  for (int step = 0; step < steps; ++step) want = stepped(job, want, step);
  finish(denoiser, job);
  CHECK(job.next_step == steps);
  for (std::size_t i = 0; i < want.size(); ++i) {
    REQUIRE(job.latents[i] == doctest::Approx(want[i]).epsilon(1e-4));
  }
}

}  // namespace

TEST_CASE("denoiser: text, position ids, reference tokens and Euler steps") {
  IRT_NEEDS_ORT();
  Denoiser denoiser(small_config(), {});
  const auto text = text_of(denoiser, 5, 3);
  for (std::size_t i = 0; i < 30; ++i) {
    const double id = i / 6 < 3 ? static_cast<double>(13 + 3 * (i / 6)) : 0.0;
    CHECK(text->data[i] == doctest::Approx(id * 0.01 * static_cast<double>(i % 6 + 1)));
  }
  const DenoiseJob plain = denoiser.begin(text, nullptr, 7, 0, 0, 0);
  CHECK(plain.rows == 2);
  CHECK(plain.columns == 3);
  CHECK(plain.sigmas == flow_sigmas(4, 6));
  std::vector<float> noise(plain.latents.size());
  gaussian_noise(7, noise);
  CHECK(plain.latents == noise);
  check_run(denoiser, plain);

  const auto reference = reference_of(denoiser, picture(1, 16, 8));
  CHECK(reference->rows == 2);
  CHECK(reference->columns == 4);
  const DenoiseJob edit = denoiser.begin(text, reference, 8, 0, 0, 6);
  CHECK(edit.rows == 2);  // the size of the reference
  CHECK(edit.columns == 4);
  check_run(denoiser, edit);
  check_run(denoiser, denoiser.begin(text, reference, 9, 8, 12, 1));  // a size of its own
}

TEST_CASE("denoiser: images go through the codec unchanged") {
  IRT_NEEDS_ORT();
  Denoiser denoiser(small_config(), {});
  const PixelBuffer source = picture(2, 20, 12);
  const auto latents = reference_of(denoiser, source);
  DenoiseJob job = denoiser.begin(text_of(denoiser, 5, 1), latents, 0, 0, 0, 1);
  job.latents = latents->data;
  job.next_step = 1;
  const PixelBuffer back = denoiser.decode(job);
  CHECK(back.width == 20);
  CHECK(back.height == 12);
  CHECK(back.data == source.data);
}

TEST_CASE("denoiser: reference images are cropped to tokens and capped in area") {
  IRT_NEEDS_ORT();
  Denoiser denoiser(small_config(), {});
  const PixelBuffer source = picture(3, 23, 14);
  const PixelBuffer middle = crop_center(source.view(), 20, 12);
  CHECK(reference_of(denoiser, source)->data == reference_of(denoiser, middle)->data);

  const PixelBuffer large = white_image(2050, 1030);  // scaled to 1444 x 725: 361 x 181 tokens
  const auto latents = reference_of(denoiser, large);
  CHECK(latents->columns == 361);
  CHECK(latents->rows == 181);
  for (const auto& [width, height] : {std::pair(3, 40), std::pair(40, 3), std::pair(0, 0)}) {
    CHECK_THROWS_WITH_AS((void)denoiser.encode_image(white_image(width, height).view()),
                         doctest::Contains("too small"), Error);
  }
}

TEST_CASE("denoiser: a batch at mixed steps and shapes equals single runs") {
  IRT_NEEDS_ORT();
  const auto run = [](const GeneratorConfig& config, std::size_t length, int largest) {
    Denoiser single(config, {});
    const auto reference =
        reference_of(single, picture(5, 3 * config.token_pixels, 3 * config.token_pixels));
    std::vector<DenoiseJob> first;
    for (int i = 0; i < 7; ++i) {
      first.push_back(single.begin(text_of(single, length, 1 + i % 4), i % 3 ? reference : nullptr,
                                   static_cast<std::uint64_t>(i), 3 * config.token_pixels,
                                   3 * config.token_pixels, 3 + i % 3));
    }
    std::vector<DenoiseJob> alone = first;
    for (DenoiseJob& job : alone) finish(single, job);

    GeneratorConfig batched = config;
    batched.max_batch = largest;
    Denoiser denoiser(batched, {});
    std::vector<DenoiseJob> together = first;
    for (std::size_t i = 0; i < 3; ++i) {  // some are ahead of the others
      DenoiseJob* const ahead[] = {&together[i]};
      denoiser.step(ahead);
    }
    for (bool more = true; more;) {
      std::vector<DenoiseJob*> jobs;
      for (DenoiseJob& job : together) {
        if (!job.finished()) jobs.push_back(&job);
      }
      if (more = !jobs.empty(); more) denoiser.step(jobs);
    }
    for (std::size_t i = 0; i < first.size(); ++i) {
      CAPTURE(i);
      CAPTURE(largest);
      CHECK(together[i].latents == alone[i].latents);
      CHECK(denoiser.decode(together[i]).data == single.decode(alone[i]).data);
    }
    CHECK(alone[0].latents != alone[3].latents);
    CHECK_FALSE(Denoiser::same_shape(first[0], first[1]));
    CHECK(Denoiser::same_shape(first[1], first[2]));
  };
  for (const int largest : {1, 2, 3, 8}) run(small_config(1), 5, largest);
#ifdef IRT_EMBEDDED_PACK
  if (!std::filesystem::exists(embedded_config(1).transformer)) {
    MESSAGE("skipped: no embedded pack at " IRT_EMBEDDED_PACK);
    return;
  }
  for (const int largest : {2, 4}) run(embedded_config(1), 32, largest);
#endif
}

TEST_CASE("denoiser: requests that cannot be made are refused") {
  IRT_NEEDS_ORT();
  Denoiser denoiser(small_config(), {});
  const auto text = text_of(denoiser, 5, 2);
  const auto refused = [&](auto call, ErrorCode code, const char* message) {
    try {
      call();
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == code);
      CHECK_MESSAGE(std::string(error.what()).find(message) != std::string::npos, error.what());
    }
  };
  const auto bad = ErrorCode::kBadRequest;
  for (const auto& [width, height] : {std::pair(10, 8), std::pair(8, 10), std::pair(-4, 8)}) {
    refused([&] { (void)denoiser.begin(text, nullptr, 0, width, height, 4); }, bad,
            "multiples of 4");
  }
  refused([&] { (void)denoiser.begin(text, nullptr, 0, 8, 8, -1); }, bad, "denoising steps");
  refused([&] { (void)denoiser.begin(nullptr, nullptr, 0, 8, 8, 4); }, bad, "encode_text");
  const auto foreign = std::make_shared<const TextEmbedding>(TextEmbedding{{1.0F}});
  refused([&] { (void)denoiser.begin(foreign, nullptr, 0, 8, 8, 4); }, bad, "encode_text");
  const auto torn = std::make_shared<const Latents>(Latents{2, 2, {1.0F}});
  refused([&] { (void)denoiser.begin(text, torn, 0, 8, 8, 4); }, bad, "encode_image");
  const std::vector<std::int64_t> few(4, 1);
  refused([&] { (void)denoiser.encode_text(few, few); }, bad, "pad both to 5");

  DenoiseJob job = denoiser.begin(text, nullptr, 0, 8, 8, 2);
  refused([&] { (void)denoiser.decode(job); }, ErrorCode::kInternal, "step 0 of 2");
  finish(denoiser, job);
  DenoiseJob* const jobs[] = {&job};
  refused([&] { denoiser.step(jobs); }, ErrorCode::kInternal, "finished");
  job.latents.front() = std::numeric_limits<float>::quiet_NaN();
  refused([&] { (void)denoiser.decode(job); }, ErrorCode::kBackendFailed, "not finite");
}

TEST_CASE("denoiser: a graph that breaks the contract is refused by name") {
  IRT_NEEDS_ORT();
  const auto refused = [&](auto change, const char* file, const char* text) {
    GeneratorConfig config = small_config();
    change(config);
    try {
      Denoiser denoiser(config, {});
      FAIL("accepted");
    } catch (const Error& error) {
      const std::string message = error.what();
      CHECK(error.code() == ErrorCode::kBadPack);
      CHECK_MESSAGE(message.find(file) != std::string::npos, message);
      CHECK_MESSAGE(message.find(text) != std::string::npos, message);
    }
  };
  using C = GeneratorConfig;
  refused([](C& c) { c.transformer = graph_path("transformer_without_ids.onnx"); },
          "transformer_without_ids.onnx", "`txt_ids` is missing");
  refused([](C& c) { c.text_dim = 7; }, "text_encoder.onnx",
          "`prompt_embeds` is float32 [?, ?, 6]");
  refused([](C& c) { c.latent_channels = 32; }, "transformer.onnx", "`hidden_states`");
  refused([](C& c) { c.vae_decoder = c.vae_encoder; }, "vae_encoder.onnx", "`latents` is missing");
  refused([](C& c) { c.vae_encoder = graph_path("nowhere.onnx"); }, "nowhere.onnx", "");
  refused([](C& c) { c.max_batch = 0; }, "transformer.onnx", "must be positive");
}

TEST_CASE("denoiser: no job advances when one cannot, and a terminated run can be repeated") {
  IRT_NEEDS_ORT();
  Denoiser denoiser(small_config(2), {});
  const auto text = text_of(denoiser, 5, 2);
  DenoiseJob good = denoiser.begin(text, nullptr, 1, 8, 8, 3);
  DenoiseJob done = denoiser.begin(text, nullptr, 2, 8, 8, 3);
  finish(denoiser, done);
  const DenoiseJob before = good;
  DenoiseJob* const jobs[] = {&good, &done};
  CHECK_THROWS_AS(denoiser.step(jobs), Error);
  CHECK(good.latents == before.latents);
  CHECK(good.next_step == 0);

  DenoiseJob large = denoiser.begin(text, nullptr, 3, 512, 512, 3);
  const std::vector<float> noise = large.latents;
  DenoiseJob* const both[] = {&good, &large};
  std::atomic<bool> over{false};
  bool cancelled = false;
  {
    const std::jthread killer([&] {
      while (!over) denoiser.terminate();
    });
    for (int i = 0; i < 200 && !cancelled; ++i) {
      try {
        denoiser.step(both);
        good = before;
        large.latents = noise;
        large.next_step = 0;
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::kCancelled);
        cancelled = true;
      }
    }
    over = true;
  }
  REQUIRE(cancelled);
  CHECK(good.latents == before.latents);  // its group may have run before the other was ended
  CHECK(large.latents == noise);
  CHECK(large.next_step == 0);
  check_run(denoiser, large);
}
