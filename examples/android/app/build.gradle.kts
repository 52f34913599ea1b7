plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.example.instruments"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.example.instruments"
        minSdk = 24 // what LiteRT 2.3 asks for
        targetSdk = 36
    }

    // The model is mapped into memory as it lies in the package.
    androidResources { noCompress += "tflite" }
}

kotlin { jvmToolchain(17) }

dependencies {
    // Either of the two is enough; both come from google().
    implementation("com.google.mediapipe:tasks-audio:1.0.0") // MediaPipeListener.kt
    implementation("com.google.ai.edge.litert:litert:2.3.0") // LiteRtPredictor.kt
}
