package org.example.instruments

import android.annotation.SuppressLint
import android.content.Context
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import com.google.mediapipe.tasks.audio.audioclassifier.AudioClassifier
import com.google.mediapipe.tasks.audio.audioclassifier.AudioClassifier.AudioClassifierOptions
import com.google.mediapipe.tasks.audio.core.RunningMode
import com.google.mediapipe.tasks.components.containers.AudioData
import com.google.mediapipe.tasks.components.containers.AudioData.AudioDataFormat
import com.google.mediapipe.tasks.components.containers.ClassificationResult
import com.google.mediapipe.tasks.core.BaseOptions
import kotlin.concurrent.thread

/**
 * Runs a model with MediaPipe, which resamples and cuts the audio into the model's windows.
 *
 * @param asset the model's name in the assets
 */
class MediaPipeListener(private val context: Context, private val asset: String) {
    @Volatile private var listening = false

    /**
     * Classifies a clip of any length, rate and number of channels.
     *
     * @param samples in [-1, 1], channels interleaved
     * @return an answer for each window of the model, with its start in milliseconds; MediaPipe
     *     fills the last window with silence
     */
    fun classify(samples: FloatArray, sampleRate: Int, channels: Int = 1): List<Pair<Long, Answer>> {
        val format = AudioDataFormat.builder()
            .setSampleRate(sampleRate.toFloat())
            .setNumOfChannels(channels)
            .build()
        val clip = AudioData.create(format, samples.size / channels).apply { load(samples) }
        return AudioClassifier.createFromOptions(context, options().build()).use { classifier ->
            classifier.classify(clip).classificationResults().map { result ->
                result.timestampMs().orElse(0L) to answer(result)
            }
        }
    }

    /** Listens to the microphone until [stop]; needs the permission RECORD_AUDIO. */
    @SuppressLint("MissingPermission")
    fun listen(
        sampleRate: Int,
        onAnswer: (Answer) -> Unit,
        onError: (RuntimeException) -> Unit,
    ) {
        val stream = options()
            .setRunningMode(RunningMode.AUDIO_STREAM)
            .setResultListener { result -> result.classificationResults().forEach { onAnswer(answer(it)) } }
            .setErrorListener { error -> onError(error) }
            .build()
        val block = FloatArray(sampleRate / 4)
        val recorder = AudioRecord(
            MediaRecorder.AudioSource.UNPROCESSED, // no speech enhancement: it ruins music
            sampleRate,
            AudioFormat.CHANNEL_IN_MONO,
            AudioFormat.ENCODING_PCM_FLOAT,
            4 * block.size * Float.SIZE_BYTES,
        )
        check(recorder.state == AudioRecord.STATE_INITIALIZED) { "The microphone cannot be used." }
        listening = true
        thread(name = "listening") {
            val classifier = AudioClassifier.createFromOptions(context, stream)
            recorder.startRecording()
            var heard = 0L
            while (listening) {
                val read = recorder.read(block, 0, block.size, AudioRecord.READ_BLOCKING)
                if (read < 0) {
                    onError(IllegalStateException("Recording stopped with error $read."))
                    break
                }
                if (read == 0) continue
                val data = AudioData.create(recorder.format, read).apply { load(block, 0, read) }
                classifier.classifyAsync(data, 1000 * heard / sampleRate)
                heard += read
            }
            recorder.stop()
            recorder.release()
            classifier.close()
        }
    }

    fun stop() {
        listening = false
    }

    // The file states the lowest threshold of each head, so what MediaPipe leaves out is present
    // by no class's threshold; `ModelCard.tags` applies each class's own.
    private fun options() = AudioClassifierOptions.builder()
        .setBaseOptions(BaseOptions.builder().setModelAssetPath(asset).build())

    private fun answer(result: ClassificationResult): Answer =
        result.classifications().associate { head ->
            head.headName().get() to head.categories().associate { it.categoryName() to it.score() }
        }
}
