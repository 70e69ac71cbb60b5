package com.cloudbees.groovy.cps

import java.lang.annotation.Retention
import java.lang.annotation.RetentionPolicy

/** Stands for the annotation of Jenkins by which a method runs outside the continuations. */
@Retention(RetentionPolicy.RUNTIME)
@interface NonCPS {}
